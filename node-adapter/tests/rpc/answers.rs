//! What is answered to what: the cookie, the host, requests right and wrong.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::client::{Client, request};
use super::node::Served;

#[test]
fn a_wrong_or_missing_cookie_is_answered_401_and_the_method_is_not_carried_out() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    let other = Served::start();
    let wrong = [
        String::new(),
        Client::of(other.directory.path()).authorization,
        client.authorization[..client.authorization.len() - 4].to_owned(),
        client.authorization.replace("Basic", "Bearer"),
        "Basic %%%".to_owned(),
    ];
    for authorization in wrong {
        let answer = Client { authorization, ..client.clone() }.call("stop", json!([]));
        assert_eq!(answer.status, 401);
        assert!(answer.head.contains("www-authenticate: Basic realm=\"jsonrpc\""), "{answer:?}");
        assert!(answer.body.contains(".cookie"), "{answer:?}");
    }
    assert_eq!(served.begun.load(Ordering::SeqCst), 0);
    assert_eq!(client.call("stop", json!([])).json()["result"], "done");
}

#[test]
fn only_who_means_this_machine_is_heard() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    let status =
        |host: &str| Client { host: host.to_owned(), ..client.clone() }.call("stop", json!([])).status;
    for host in
        ["localhost", "LocalHost:18453", "127.0.0.1", "127.0.0.1:1", "127.1.2.3", "[::1]", "[::1]:8332"]
    {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in [
        "rebound.example",
        "rebound.example:18453",
        "localhost.rebound.example",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
    ] {
        assert_eq!(status(host), 403, "{host}");
    }
    assert_eq!(status("a b"), 403);
    assert_eq!(status(""), 403, "none at all");
    let twice = format!("localhost\r\nhost: {}", client.host);
    assert!(matches!(status(&twice), 400 | 403));
    // Also where it stands in the first line.
    let body = request("stop", json!([]));
    let mut stream = client.connect();
    let head = client.head(&format!("content-length: {}\r\n", body.len()));
    let head = head.replace("POST / ", "POST http://rebound.example/ ");
    std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
    assert_eq!(super::client::read_answer(&mut stream).status, 403);
}

#[test]
fn other_paths_methods_and_types_are_refused() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    let body = request("stop", json!([]));
    for (from, to, status) in [
        ("POST / ", "POST /wallet/x ", 404),
        ("POST / ", "GET / ", 405),
        ("POST / ", "DELETE / ", 405),
        ("application/json", "text/html", 415),
    ] {
        let mut stream = client.connect();
        let head = client.head(&format!("content-length: {}\r\n", body.len())).replace(from, to);
        std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
        assert_eq!(super::client::read_answer(&mut stream).status, status, "{to}");
    }
    assert_eq!(served.begun.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_no_request_gets_the_standard_code_and_a_reason() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    for (body, code, said) in [
        ("{\"jsonrpc\": \"2.0\", ", -32700, "EOF"),
        ("hello", -32700, "no JSON"),
        ("", -32700, "no JSON"),
        ("7", -32600, "must be an object"),
        ("[1, ", -32700, "EOF"),
        ("{}", -32600, "\\\"jsonrpc\\\": \\\"2.0\\\" is missing"),
        (r#"{"jsonrpc": "1.0", "id": 1, "method": "stop"}"#, -32600, "other versions are not spoken"),
        (r#"{"jsonrpc": "2.0", "id": 1}"#, -32600, "method must be a text"),
        (r#"{"jsonrpc": "2.0", "id": [], "method": "stop"}"#, -32600, "id must be"),
        (r#"{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "stop"}"#, -32600, "each once"),
        ("[]", -32600, "a list must have one"),
    ] {
        let answer = client.post(body.as_bytes());
        assert_eq!(answer.error().0, code, "{body}: {answer:?}");
        assert!(answer.body.contains(said), "{body}: {answer:?}");
    }
    assert_eq!(client.post(b"\xff\xfe{").error().0, -32700);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(client.post(deep.as_bytes()).json()[0]["error"]["code"], -32600);
    let params = format!(r#"{{"jsonrpc": "2.0", "id": 1, "method": "fill", "params": {deep}}}"#);
    assert_eq!(client.post(params.as_bytes()).error().0, -32602);
    assert_eq!(served.begun.load(Ordering::SeqCst), 0);
}

#[test]
fn an_unknown_method_is_told_the_nearest_name() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    for (method, said) in [
        ("getbusinof", "did you mean getbusinfo?"),
        ("LoadModule", "did you mean loadmodule?"),
        ("lightning_pya", "did you mean lightning_pay?"),
        ("sendtoaddress", "`help` lists"),
        ("", "`help` lists"),
        ("a\nb", "\"a\\nb\""),
    ] {
        let answer = client.call(method, json!({}));
        let (code, message) = answer.error();
        assert_eq!(code, -32601);
        assert!(message.contains(said), "{message}");
        assert_eq!(answer.json()["id"], 7);
    }
    let long = client.call(&"x".repeat(100_000), json!({}));
    assert!(long.error().0 == -32601 && long.body.len() < 500, "what a client sends comes back bounded");
}

#[test]
fn wrong_parameters_name_the_parameter() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    for (params, said) in [
        (json!({}), "name is missing"),
        (json!({"nmae": "x"}), "did you mean name?"),
        (json!({"name": 7}), "name must be a text"),
        (json!(["a", "b"]), "at most 1"),
    ] {
        let (code, message) = client.call("loadmodule", params).error();
        assert_eq!(code, -32602);
        assert!(message.contains(said), "{message}");
    }
    for params in [json!({"name": "watch"}), json!(["watch"])] {
        assert_eq!(client.call("loadmodule", params).json()["result"]["name"], "watch");
    }
}

#[test]
fn a_batch_is_answered_call_by_call_and_notifications_are_carried_out_in_silence() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    let call = |id: u32, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method});
    let notification = json!({"jsonrpc": "2.0", "method": "stop"});
    let strange = json!({"jsonrpc": "2.0", "id": [], "method": "stop"});
    let batch = json!([call(1, "stop"), notification, call(2, "nosuch"), 5, call(3, "getbusinfo"), strange]);
    let answers = client.post(batch.to_string().as_bytes()).json();
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(2), Value::Null, json!(3), Value::Null]);
    assert_eq!(answers[4]["error"]["code"], -32600);
    assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!("done"), &json!(-32601)));
    assert_eq!(answers[2]["error"]["code"], -32600);
    assert_eq!(served.done.load(Ordering::SeqCst), 3);
    for silent in [notification.to_string(), json!([notification]).to_string()] {
        let answer = client.post(silent.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    assert_eq!(served.done.load(Ordering::SeqCst), 5);
}

#[test]
fn help_names_every_method_those_of_modules_too() {
    let served = Served::start();
    let client = Client::of(served.directory.path());
    let help = client.call("help", json!([])).json();
    let names: Vec<_> =
        help["result"]["methods"].as_array().unwrap().iter().map(|each| &each["name"]).collect();
    for name in ["getbusinfo", "loadmodule", "runmodulecli", "stop", "unloadmodule"] {
        assert!(names.contains(&&json!(name)), "{name}");
    }
    assert_eq!(help["result"]["modules"], json!(["fill", "wait", "lightning_pay"]));
    let one = client.call("help", json!({"method": "loadmodule"})).json();
    assert_eq!(one["result"]["methods"][0]["parameters"][0]["name"], "name");
    assert_eq!(client.call("help", json!(["lodmodule"])).error().0, -32601);
}
