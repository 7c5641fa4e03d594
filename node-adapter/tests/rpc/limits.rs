//! Each limit at it and beyond it, and clients that take their time.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use blvm_node_adapter::rpc::Limits;
use serde_json::json;

use super::client::{Client, PATIENCE, read_answer, read_to_end, request};
use super::node::Served;

fn await_state(what: &str, is_reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_reached() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    let limits = Limits { body_bytes: 10_000, ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let body = |bytes: usize| {
        let bare = request("stop", json!([]));
        bare.clone() + &" ".repeat(bytes - bare.len())
    };
    assert_eq!(client.post(body(10_000).as_bytes()).json()["result"], "done");
    let answer = client.post(body(10_001).as_bytes());
    assert_eq!((answer.status, answer.error().0), (413, -32007));
    // The same without a length in the head.
    let chunked = |bytes: usize| {
        let mut stream = client.connect();
        stream.write_all(client.head("transfer-encoding: chunked\r\n").as_bytes()).unwrap();
        let _ = write!(stream, "{bytes:x}\r\n{}\r\n0\r\n\r\n", body(bytes));
        read_answer(&mut stream).status
    };
    assert_eq!((chunked(10_000), chunked(10_001)), (200, 413));
    // A length that is a lie is believed and costs nothing.
    let mut stream = client.connect();
    stream.write_all(client.head("content-length: 99999999999999\r\n").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).status, 413);
    let mut stream = client.connect();
    let head = client.head(&format!("x: {}\r\ncontent-length: 0\r\n", "y".repeat(20_000)));
    let _ = stream.write_all(head.as_bytes());
    assert!(matches!(read_answer(&mut stream).status, 400 | 431));
    assert_eq!(served.done.load(Ordering::SeqCst), 2);
}

#[test]
fn a_batch_and_an_answer_have_their_limits() {
    let limits = Limits { batch_calls: 3, answer_bytes: 10_000, ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let batch = |calls: usize| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "stop"});
        client.post(json!(vec![call; calls]).to_string().as_bytes())
    };
    assert_eq!(batch(3).json().as_array().unwrap().len(), 3);
    assert_eq!(batch(4).error().0, -32010);
    assert_eq!(served.done.load(Ordering::SeqCst), 3, "none of a batch that is too long");
    assert_eq!(client.call("fill", json!({"bytes": 9_000})).json()["result"].as_str().unwrap().len(), 9_000);
    assert_eq!(client.call("fill", json!({"bytes": 10_001})).error().0, -32008);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "fill", "params": {"bytes": 6_000}});
    assert_eq!(client.post(json!([call, call]).to_string().as_bytes()).error().0, -32011, "both together");
}

#[test]
fn who_stalls_holds_up_nobody_and_is_left_after_a_while() {
    let limits =
        Limits { head: Duration::from_millis(300), body: Duration::from_millis(300), ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let mut silent = client.connect();
    let mut dripping = client.connect();
    let mut half = client.connect();
    half.write_all(client.head("content-length: 100\r\n").as_bytes()).unwrap();
    half.write_all(b"{\"jsonrpc\":").unwrap();
    let start = Instant::now();
    let mut is_open = true;
    let mut heard = 0;
    // A byte of a head that never ends, now and then; meanwhile others are answered.
    while is_open {
        assert!(start.elapsed() < PATIENCE);
        is_open = dripping.write_all(b"POST / HTTP/1.1\r\nx: y\r\n"[heard % 20..][..1].as_ref()).is_ok();
        assert_eq!(client.call("stop", json!([])).status, 200);
        heard += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(heard > 1);
    assert_eq!(read_answer(&mut half).status, 408);
    read_to_end(&mut half);
    assert!(!read_to_end(&mut silent).contains("200"));
}

#[test]
fn silent_connections_beyond_all_places_make_room_for_who_speaks() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let mut silent: Vec<TcpStream> = (0..4).map(|_| client.connect()).collect();
    for _ in 0..20 {
        assert_eq!(client.call("stop", json!([])).status, 200);
        silent.push(client.connect());
    }
    // Long before they have used up their time the oldest have lost their places.
    assert_eq!(read_to_end(&mut silent[0]), "");
    let many: Vec<TcpStream> = (0..500).map(|_| client.connect()).collect();
    assert_eq!(client.call("stop", json!([])).status, 200);
    drop(many);
}

#[test]
fn where_all_are_being_answered_one_more_is_told_to_come_back() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let ask = || {
        let mut stream = client.connect();
        let body = request("wait", json!([]));
        let head = client.head(&format!("content-length: {}\r\n", body.len()));
        stream.write_all((head + &body).as_bytes()).unwrap();
        stream
    };
    let mut asking = [ask(), ask()];
    await_state("both are being answered", || served.begun.load(Ordering::SeqCst) == 2);
    let refused = read_to_end(&mut client.connect());
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after"), "{refused}");
    served.may_end.add_permits(2);
    for stream in &mut asking {
        assert_eq!(read_answer(stream).json()["result"], "waited");
    }
    // They wait for their clients now: there is room again.
    assert_eq!(client.call("stop", json!([])).status, 200);
}

#[test]
fn what_was_begun_is_ended_when_its_client_has_gone_and_counts_until_then() {
    let limits = Limits { bodies: 1, ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let body = request("wait", json!([]));
    let mut stream = client.connect();
    let head = client.head(&format!("content-length: {}\r\n", body.len()));
    stream.write_all((head + &body).as_bytes()).unwrap();
    await_state("the call has begun", || served.begun.load(Ordering::SeqCst) == 1);
    drop(stream);
    let busy = client.call("stop", json!([]));
    assert!(busy.status == 503 && busy.head.contains("retry-after"), "{busy:?}");
    assert_eq!(served.done.load(Ordering::SeqCst), 0);
    served.may_end.add_permits(1);
    await_state("it ends without its client", || served.done.load(Ordering::SeqCst) == 1);
    await_state("there is room again", || client.call("stop", json!([])).status == 200);
}

#[test]
fn an_answer_that_nobody_reads_takes_no_place() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let body = request("fill", json!({"bytes": 15_000_000}));
    let mut stream = client.connect();
    let head = client.head(&format!("content-length: {}\r\n", body.len()));
    stream.write_all((head + &body).as_bytes()).unwrap();
    await_state("it is answered", || served.done.load(Ordering::SeqCst) == 1);
    await_state("another is heard", || {
        let mut other = client.connect();
        let body = request("stop", json!([]));
        let head = client.head(&format!("content-length: {}\r\n", body.len()));
        let _ = other.write_all((head + &body).as_bytes());
        read_to_end_or_close(&mut other)
    });
}

/// Whether the answer is a result.
fn read_to_end_or_close(stream: &mut TcpStream) -> bool {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    read_to_end(stream).contains("done")
}

#[test]
fn many_clients_at_once_are_all_answered() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    std::thread::scope(|scope| {
        for number in 0..32 {
            let client = &client;
            scope.spawn(move || {
                // One connection for all calls.
                let mut stream = client.connect();
                for round in 0..20 {
                    let name = format!("{number}-{round}");
                    let body = request("loadmodule", json!([name]));
                    let head = client.head(&format!("content-length: {}\r\n", body.len()));
                    stream.write_all((head + &body).as_bytes()).unwrap();
                    assert_eq!(read_answer(&mut stream).json()["result"]["name"], name);
                }
            });
        }
    });
    assert_eq!(served.done.load(Ordering::SeqCst), 640);
}

#[test]
fn a_server_that_stops_answers_what_it_has_begun_and_removes_its_files() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    let body = request("wait", json!([]));
    let mut stream = client.connect();
    let head = client.head(&format!("content-length: {}\r\n", body.len()));
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut idle = client.connect();
    await_state("the call has begun", || served.begun.load(Ordering::SeqCst) == 1);
    let stopping = served.runtime.spawn(served.server.stop());
    assert_eq!(read_to_end(&mut idle), "", "an idle connection ends at once");
    served.may_end.add_permits(1);
    assert_eq!(read_answer(&mut stream).json()["result"], "waited");
    served.runtime.block_on(stopping).unwrap();
    assert_eq!(std::fs::read_dir(served.directory.path()).unwrap().count(), 0);
    assert!(TcpStream::connect(client.address).is_err());
}

#[test]
fn a_call_that_takes_too_long_does_not_keep_the_server_from_stopping() {
    let limits = Limits { grace: Duration::from_millis(100), ..Limits::default() };
    let served = Served::start_with(limits);
    let client = Client::of(served.directory.path());
    let body = request("wait", json!([]));
    let mut stream = client.connect();
    let head = client.head(&format!("content-length: {}\r\n", body.len()));
    stream.write_all((head + &body).as_bytes()).unwrap();
    await_state("the call has begun", || served.begun.load(Ordering::SeqCst) == 1);
    served.runtime.block_on(served.server.stop());
    assert_eq!(read_to_end(&mut stream), "");
    // It was begun, so it ends.
    served.may_end.add_permits(1);
    await_state("it ends", || served.done.load(Ordering::SeqCst) == 1);
}
