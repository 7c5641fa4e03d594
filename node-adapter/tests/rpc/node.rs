//! A server in this process; what its methods answer comes from the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use blvm_node_adapter::rpc::{Answering, Call, Limits, Operations, Server, ServerOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Answers `wait` only when told, and counts what was carried out to its end.
pub struct Operator {
    /// One permit for each call of `wait` that may end.
    pub may_end: Arc<Semaphore>,
    pub begun: Arc<AtomicU32>,
    pub done: Arc<AtomicU32>,
}

impl Operations for Operator {
    fn carry_out(&self, call: Call) -> Answering {
        let (may_end, begun, done) =
            (Arc::clone(&self.may_end), Arc::clone(&self.begun), Arc::clone(&self.done));
        Box::pin(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            let answer = match call {
                Call::Module { method, .. } if method == "wait" => {
                    may_end.acquire().await.unwrap().forget();
                    json!("waited")
                }
                Call::Module { method, params } if method == "fill" => {
                    json!("x".repeat(params["bytes"].as_u64().unwrap() as usize))
                }
                Call::LoadModule { name } => json!({ "name": name }),
                _ => json!("done"),
            };
            done.fetch_add(1, Ordering::SeqCst);
            Ok::<Value, _>(answer)
        })
    }

    fn module_methods(&self) -> Vec<String> {
        ["fill", "wait", "lightning_pay"].map(str::to_owned).to_vec()
    }
}

/// A running server. Its runtime goes with it.
pub struct Served {
    pub server: Server,
    pub directory: TempDir,
    pub may_end: Arc<Semaphore>,
    pub begun: Arc<AtomicU32>,
    pub done: Arc<AtomicU32>,
    pub runtime: tokio::runtime::Runtime,
}

impl Served {
    pub fn start() -> Self {
        Served::start_with(Limits::default())
    }

    pub fn start_with(limits: Limits) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let options = ServerOptions {
            directory: directory.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            may_move: false,
            limits,
        };
        let may_end = Arc::new(Semaphore::new(0));
        let [begun, done] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let operator =
            Operator { may_end: Arc::clone(&may_end), begun: Arc::clone(&begun), done: Arc::clone(&done) };
        let server = runtime.block_on(Server::start(options, Arc::new(operator))).unwrap();
        Served { server, directory, may_end, begun, done, runtime }
    }
}
