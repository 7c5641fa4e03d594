//! A client that speaks HTTP by hand, and so can be mistaken, slow or silent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than anything here takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code and message of its error.
    pub fn error(&self) -> (i64, String) {
        let error = &self.json()["error"];
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }
}

/// Who calls the server of `directory`.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub host: String,
    /// The value of `Authorization`; empty sends none.
    pub authorization: String,
}

impl Client {
    pub fn of(directory: &Path) -> Self {
        let address: SocketAddr =
            std::fs::read_to_string(directory.join("rpc.address")).unwrap().parse().unwrap();
        let authorization =
            blvm_node_adapter::rpc::authorization(directory).unwrap().to_str().unwrap().to_owned();
        Client { address, host: address.to_string(), authorization }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A head that ends with `more` and the empty line.
    pub fn head(&self, more: &str) -> String {
        let mut head = "POST / HTTP/1.1\r\ncontent-type: application/json\r\n".to_owned();
        if !self.host.is_empty() {
            head += &format!("host: {}\r\n", self.host);
        }
        if !self.authorization.is_empty() {
            head += &format!("authorization: {}\r\n", self.authorization);
        }
        head + more + "\r\n"
    }

    /// Sends `body` and reads the answer; the connection ends.
    pub fn post(&self, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let head = self.head(&format!("connection: close\r\ncontent-length: {}\r\n", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        // Who is refused by the head need not read the body.
        let _ = stream.write_all(body);
        read_answer(&mut stream)
    }

    /// Calls a method by name.
    pub fn call(&self, method: &str, params: Value) -> Answer {
        self.post(request(method, params).as_bytes())
    }
}

pub fn request(method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string()
}

/// Reads one answer, to the end that its head gives.
pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    Answer { status, body: String::from_utf8(body).unwrap(), head }
}

/// Waits until the server ends the connection; what it said before.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        // Ended while something that was sent lay unread.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8(text).unwrap()
}
