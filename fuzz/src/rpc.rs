//! Target `rpc`: the body of a request by JSON-RPC from somebody who has the cookie. No sockets, a scripted node.

use std::future::ready;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use blvm_node_adapter::rpc::error::error;
use blvm_node_adapter::rpc::{Answering, Call, Limits, Operations, answer_body};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Code of every error that may come out: the standard ones, those of the limits, and the one the scripted node has.
const CODES: [i64; 9] = [-32700, -32600, -32601, -32602, -32603, -32007, -32008, -32010, -32011];

/// What the scripted node fails with.
const FAILED: i32 = -32027;

/// Small, so that inputs reach them.
const LIMITS: fn() -> Limits =
    || Limits { body_bytes: 1 << 16, answer_bytes: 1 << 14, batch_calls: 8, ..Limits::default() };

/// What the server made of an input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// What the node was asked for, in order.
    pub calls: Vec<Call>,
    /// Codes of the errors in the answer; 0 for a result.
    pub codes: Vec<i64>,
}

#[derive(Default)]
struct Node {
    calls: Mutex<Vec<Call>>,
}

impl Operations for Node {
    fn carry_out(&self, call: Call) -> Answering {
        let answer = match &call {
            Call::Module { method, params } if method == "echo" => Ok(params.clone()),
            Call::Module { .. } => Err(error(FAILED, "it failed")),
            _ => Ok(json!("done")),
        };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        Box::pin(ready(answer))
    }

    fn module_methods(&self) -> Vec<String> {
        vec!["echo".to_owned(), "fail".to_owned()]
    }
}

/// Answers `body`. Whatever it is, the answer is JSON-RPC with codes that are documented, or none at all for notifications.
pub fn rpc(body: &[u8]) -> Asked {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime without IO"));
    let node = Arc::new(Node::default());
    let limits = LIMITS();
    let answer = runtime.block_on(answer_body(Arc::clone(&node) as _, &limits, body.to_vec()));
    assert!(answer.len() <= limits.answer_bytes + 1024, "an answer of {} bytes", answer.len());
    let calls = node.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(calls.len() <= limits.batch_calls as usize, "more calls than a batch may have");
    let codes = if answer.is_empty() { Vec::new() } else { codes(&answer) };
    Asked { calls, codes }
}

fn codes(answer: &[u8]) -> Vec<i64> {
    let answer: Value = serde_json::from_slice(answer).expect("an answer in JSON");
    let answers = match answer {
        Value::Array(answers) => {
            assert!(!answers.is_empty(), "an empty list answers nobody");
            answers
        }
        answer => vec![answer],
    };
    answers.iter().map(code).collect()
}

fn code(answer: &Value) -> i64 {
    assert_eq!(answer["jsonrpc"], "2.0");
    assert!(answer.get("id").is_some_and(|id| !id.is_array() && !id.is_object()), "{answer}");
    match (answer.get("result"), answer.get("error")) {
        (Some(_), None) => 0,
        (None, Some(error)) => {
            let code = error["code"].as_i64().expect("an error has a code");
            assert!(code == i64::from(FAILED) || CODES.contains(&code), "{answer}");
            let message = error["message"].as_str().expect("an error has a message");
            assert!(!message.is_empty() && message.len() < 1_000 && !message.contains('\n'), "{answer}");
            code
        }
        _ => panic!("neither result nor error, or both: {answer}"),
    }
}
