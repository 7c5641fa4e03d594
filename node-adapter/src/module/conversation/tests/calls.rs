//! Calls from the node to a module that is spoken for by hand.

use blvm_bus::request::{
    Call, CallOutcome, CallReply, CallRoom, MAX_CALLS_OF_CALLER, MAX_CALLS_OF_MODULES, MAX_CALLS_OF_OPERATOR,
    ModuleError, ModuleHealth,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::*;
use crate::module::calls::{CallFailure, ModuleCaller};

const LONG: Duration = Duration::from_secs(60);

fn rpc(method: &str) -> Call {
    Call::Rpc { method: method.to_owned(), params: "[]".to_owned() }
}

/// Calls the module from a task.
fn call(caller: &ModuleCaller, call: Call, deadline: Duration) -> JoinHandle<Result<CallReply, CallFailure>> {
    let caller = caller.clone();
    Handle::current().spawn(async move { caller.call(call, deadline).await })
}

fn end<T>(task: JoinHandle<T>) -> T {
    Handle::current().block_on(task).unwrap()
}

impl Peer {
    pub(super) fn receive_call(&mut self) -> (u64, Call) {
        let (head, body) = self.receive_frame();
        assert!(head.is_call, "an answer where a call was due");
        assert!(head.deadline_ms > 0);
        (head.correlation, decode(&body).unwrap())
    }

    pub(super) fn send_outcome(&mut self, number: u64, body: &[u8]) {
        let head = FrameHead {
            body_bytes: body.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call: true,
            correlation: number,
            deadline_ms: 0,
        };
        self.socket.write_all(&[&head.encode()[..], body].concat()).unwrap();
    }

    pub(super) fn reply(&mut self, number: u64, reply: CallReply) {
        self.send_outcome(number, &encode(&CallOutcome::Replied(reply)));
    }
}

#[test]
fn calls_are_answered_in_any_order_and_requests_are_served_meanwhile() {
    with_peer(&Permission::ALL, |peer, _, module| {
        let caller = module.caller();
        let early = end(call(&caller, Call::Health, LONG));
        assert_eq!(early, Err(CallFailure::NotAttached { module: "tester".to_owned() }));
        peer.attach();
        let one = call(&caller, rpc("one"), LONG);
        let (first, asked) = peer.receive_call();
        assert_eq!(asked, rpc("one"));
        let two = call(&caller, rpc("two"), LONG);
        let (second, _) = peer.receive_call();
        assert_ne!(first, second);
        // The module's own numbers may be the node's: the head tells them apart.
        peer.correlation = first - 1;
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        // An answer to nothing changes nothing.
        peer.send_outcome(999, b"anything");
        peer.reply(second, CallReply::Rpc("2".to_owned()));
        assert_eq!(end(two), Ok(CallReply::Rpc("2".to_owned())));
        peer.reply(first, CallReply::Rpc("1".to_owned()));
        assert_eq!(end(one), Ok(CallReply::Rpc("1".to_owned())));
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        assert_eq!(module.calls_open(), (0, 0));
    });
}

#[test]
fn every_way_to_fail_has_its_own_error_and_leaves_nothing() {
    with_peer(&Permission::ALL, |peer, _, module| {
        let name = || "tester".to_owned();
        let caller = module.caller();
        peer.attach();
        let late = end(call(&caller, rpc("late"), Duration::from_millis(30)));
        assert_eq!(late, Err(CallFailure::Deadline { module: name(), deadline_ms: 30 }));
        let (number, _) = peer.receive_call();
        peer.reply(number, CallReply::Rpc("too late".to_owned()));

        let mut ask = |answer: &dyn Fn(&mut Peer, u64)| {
            let task = call(&caller, rpc("method"), LONG);
            let (number, _) = peer.receive_call();
            answer(peer, number);
            end(task).unwrap_err()
        };
        let error = ModuleError::UnknownMethod { name: "method".to_owned() };
        let failed = CallOutcome::Failed(error.clone());
        let found = ask(&|peer, number| peer.send_outcome(number, &encode(&failed)));
        assert_eq!(found, CallFailure::Module { module: name(), error });
        let found = ask(&|peer, number| peer.reply(number, CallReply::Health(ModuleHealth::default())));
        assert_eq!(found, CallFailure::NoAnswer { module: name(), call: "rpc" });
        let found = ask(&|peer, number| peer.send_outcome(number, &[0xff; 40]));
        assert!(matches!(found, CallFailure::NoAnswer { .. }));
        // Room for a block is no room for an answer.
        for length in [MAX_FRAME_BYTES + 1, MAX_SUBMISSION_BYTES + 1] {
            let found = ask(&|peer, number| peer.send_outcome(number, &vec![0; length]));
            let (bytes, limit_bytes) = (length as u64, MAX_FRAME_BYTES as u64);
            assert_eq!(found, CallFailure::AnswerTooLong { module: name(), bytes, limit_bytes });
        }

        let long = Call::Api { caller: name(), method: name(), payload: vec![0; MAX_FRAME_BYTES] };
        assert!(matches!(end(call(&caller, long, LONG)), Err(CallFailure::TooLong { .. })));
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        assert_eq!(module.calls_open(), (0, 0));
    });
}

/// Waits until so many calls of `module` have no answer.
fn await_open(module: &Module, count: usize) {
    while module.calls_open().1 != count {
        std::thread::yield_now();
    }
}

#[test]
fn a_module_that_reads_nothing_is_called_no_more_than_its_bound_and_is_served_all_the_same() {
    with_peer(&Permission::ALL, |peer, _, module| {
        let caller = module.caller();
        peer.attach();
        // Longer than the socket takes: the node is left in the middle of one.
        let long = |from: u32| Call::Api {
            caller: format!("other-{from}"),
            method: "take".to_owned(),
            payload: vec![from as u8; MAX_FRAME_BYTES / 2],
        };
        let count = MAX_CALLS_OF_MODULES as usize;
        let from = (0..MAX_CALLS_OF_MODULES).map(|n| n / MAX_CALLS_OF_CALLER);
        let tasks: Vec<_> = from.map(|from| call(&caller, long(from), LONG)).collect();
        await_open(module, count);
        let name = || "tester".to_owned();
        let more = end(call(&caller, long(0), LONG));
        let limit = MAX_CALLS_OF_CALLER;
        assert_eq!(more, Err(CallFailure::TooManyOfCaller { module: name(), limit }));
        // What the operator asks, and the node itself, goes beyond that, and first.
        let asks: Vec<_> = (0..MAX_CALLS_OF_OPERATOR).map(|_| call(&caller, rpc("operator"), LONG)).collect();
        await_open(module, count + asks.len());
        let more = end(call(&caller, rpc("operator"), LONG));
        let (room, limit) = (CallRoom::Operator, MAX_CALLS_OF_OPERATOR);
        assert_eq!(more, Err(CallFailure::TooMany { module: name(), room, limit }));
        let stop = call(&caller, Call::Stop { deadline_ms: 5 }, LONG);
        await_open(module, count + asks.len() + 1);
        // A request as long as a frame may be: the node reads it though it is writing.
        peer.send_raw(&vec![0xff; MAX_FRAME_BYTES], 0);
        let mut asked = Vec::new();
        let mut is_refused = false;
        while asked.len() < count + asks.len() + 1 || !is_refused {
            let (head, body) = peer.receive_frame();
            if head.is_call {
                asked.push((head.correlation, decode::<Call>(&body).unwrap()));
            } else {
                assert!(matches!(decode(&body).unwrap(), Reply::Refused(Refusal::Malformed { .. })));
                is_refused = true;
            }
        }
        let stop_at = asked.iter().position(|(_, call)| matches!(call, Call::Stop { .. })).unwrap();
        assert!(stop_at <= 1, "the first was being sent already");
        let of_operator = |(_, call): &(u64, Call)| matches!(call, Call::Rpc { .. });
        assert!(asked[stop_at + 1..=stop_at + asks.len()].iter().all(of_operator), "before all others");
        for (number, call) in asked {
            let reply = match call {
                Call::Stop { .. } => CallReply::Stopping,
                Call::Rpc { .. } => CallReply::Rpc("1".to_owned()),
                _ => CallReply::Api(Vec::new()),
            };
            peer.reply(number, reply);
        }
        assert_eq!(end(stop), Ok(CallReply::Stopping));
        assert!(asks.into_iter().all(|task| end(task) == Ok(CallReply::Rpc("1".to_owned()))));
        assert!(tasks.into_iter().all(|task| end(task) == Ok(CallReply::Api(Vec::new()))));
        assert_eq!(module.calls_open(), (0, 0));
    });
}

#[test]
fn who_waits_for_a_module_that_ends_is_told_and_who_gives_up_leaves_nothing() {
    with_peer(&Permission::ALL, |peer, _, module| {
        let caller = module.caller();
        peer.attach();
        let given_up = call(&caller, rpc("given up"), LONG);
        peer.receive_call();
        given_up.abort();
        while module.calls_open() != (0, 0) {
            std::thread::yield_now();
        }
        let task = call(&caller, rpc("never"), LONG);
        peer.receive_call();
        peer.socket.shutdown(std::net::Shutdown::Both).unwrap();
        let gone = CallFailure::Gone { module: "tester".to_owned() };
        assert_eq!(end(task), Err(gone.clone()));
        assert_eq!(end(call(&caller, Call::Health, LONG)), Err(gone));
        assert_eq!(module.calls_open(), (0, 0));
    });
}

#[test]
fn grants_and_denials_are_written_down_and_a_flood_of_them_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let told = move |name: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (log, read) = (directory.path().to_owned(), told.clone());
    with_peer(&[Permission::ReadBlockchain], move |peer, _, module| {
        module.audit().write_to(&log).unwrap();
        assert!(matches!(peer.refusal(&hello(&[wish::<Mempool>()])), Refusal::Denied { .. }));
        peer.attach();
        for _ in 0..100 {
            peer.refusal(&Request::GetMempoolTransactions);
        }
        // Another refusal is no question of rights.
        peer.refusal(&Request::GetBlock { hash: [1; 32] });
        let (granted, denied) = (read("audit.log"), read("audit-denied.log"));
        assert_eq!((granted.len(), denied.len()), (1, 10));
        assert_eq!(granted[0]["decision"], "granted");
        assert_eq!(granted[0]["permissions"], serde_json::json!(["read_blockchain"]));
        assert_eq!(granted[0]["topics"], serde_json::json!(["chain"]));
        assert!(denied.iter().all(|line| line["decision"] == "denied"));
        assert_eq!((&denied[0]["request"], &denied[0]["missing"]), (&"hello".into(), &"read_mempool".into()));
        assert_eq!((&denied[1]["module"], &denied[1]["pid"]), (&"tester".into(), &4242.into()));
        assert_eq!(denied[1]["request"], "get_mempool_transactions");
    });
    // The connection has ended: the rest is told in one line.
    let last = told("audit-denied.log").pop().unwrap();
    assert_eq!((&last["decision"], &last["count"]), (&"denied_more".into(), &91.into()));
}

#[test]
fn a_module_is_told_its_configuration_and_what_is_loaded_and_a_successor_begins_within_what_was_published() {
    with_peer(&Permission::ALL, |peer, _, _| {
        let Reply::Welcome(welcome) = peer.ask(&hello(&[wish::<Chain>()])) else { panic!("not welcome") };
        assert_eq!(welcome.config, "answer = 42\n");
        let Reply::Attached(attached) = peer.ask(&Request::Mapped) else { panic!("not attached") };
        // It was to resume at 7, and nothing was published yet.
        assert_eq!(attached.starts, [TopicStart { topic: Chain::NUMBER, sequence: 1 }]);
        assert!(attached.loaded.is_empty());
    });
}
