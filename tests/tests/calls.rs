//! Calls to real processes that are killed in the middle of one, or stopped where they stand: a typed failure, and nothing left.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use blvm_bus::request::{Call, CallReply, Permission};
use blvm_node_adapter::module::{CallFailure, ModuleCaller, RegistryError};
use blvm_node_adapter::topics::TopicsOptions;
use blvm_tests::node::{Module, Node, await_state};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_call-module");
const LONG: Duration = Duration::from_secs(60);
const RIGHTS: [Permission; 3] =
    [Permission::CallModule, Permission::RegisterModuleApi, Permission::RegisterRpcEndpoint];

fn start<'a>(node: &'a Node, name: &str, methods: &[&str]) -> Module<'a> {
    let module = node.start_module_with(name, PROGRAM, methods, &RIGHTS);
    module.says("ready");
    module
}

/// Calls it from a task of the node.
fn call(
    node: &Node,
    caller: ModuleCaller,
    call: Call,
    deadline: Duration,
) -> tokio::task::JoinHandle<Result<CallReply, CallFailure>> {
    node.runtime().spawn(async move { caller.call(call, deadline).await })
}

fn rpc(method: &str) -> Call {
    Call::Rpc { method: method.to_owned(), params: "{}".to_owned() }
}

/// Descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_module_killed_in_the_middle_of_a_call_fails_it_at_once_and_leaves_nothing() {
    let node = Node::start(TopicsOptions::default());
    // The first one makes what the process keeps.
    start(&node, "first", &["first"]).signal(Signal::SIGKILL);
    await_state("the first is gone", || node.registry().methods().is_empty());
    let before = descriptors();
    for round in 0..8 {
        let (victim, asks) = (format!("victim-{round}"), format!("asker-{round}"));
        let module = start(&node, &victim, &["hang"]);
        let asker = start(&node, &asks, &["ask"]);
        let calls: Vec<_> = (0..3).map(|_| call(&node, module.caller(), rpc("hang"), LONG)).collect();
        module.says("hanging");
        // And one that another module makes, on behalf of a command.
        let (registry, arguments) = (node.registry(), vec![victim.clone()]);
        let command = node.runtime().spawn(async move { registry.run_command("ask", arguments, LONG).await });
        await_state("four calls have arrived", || {
            module.said().iter().filter(|line| *line == "hanging").count() == 4
        });
        let start = Instant::now();
        module.signal(Signal::SIGKILL);
        for call in calls {
            let gone = CallFailure::Gone { module: victim.clone() };
            assert_eq!(node.runtime().block_on(call).unwrap(), Err(gone));
        }
        let Err(RegistryError::Call(CallFailure::Module { module: asked, error })) =
            node.runtime().block_on(command).unwrap()
        else {
            panic!("another end in round {round}");
        };
        assert_eq!(asked, asks);
        assert!(error.to_string().contains(&format!("module {victim} is gone")), "{error}");
        assert!(start.elapsed() < LONG / 2, "not by the deadline");
        let offered = node.registry().methods();
        await_state("its methods are gone", || {
            node.registry().methods().iter().all(|method| method.module != victim)
        });
        assert!(offered.iter().any(|method| method.module == asks));
        asker.signal(Signal::SIGKILL);
        await_state("the other is gone", || node.registry().methods().is_empty());
    }
    await_state("no descriptor is left", || descriptors() <= before);
}

#[test]
fn a_module_that_stands_still_costs_its_callers_their_deadline_and_nobody_else_anything() {
    let node = Node::start(TopicsOptions::default());
    let stopped = start(&node, "stopped", &["hang"]);
    let other = start(&node, "other", &["other"]);
    stopped.signal(Signal::SIGSTOP);
    let health = call(&node, stopped.caller(), Call::Health, Duration::from_millis(200));
    // Far more than its socket takes.
    let payload = |from: u32| Call::Api {
        caller: format!("other-{from}"),
        method: "echo".to_owned(),
        payload: vec![1; 900_000],
    };
    let late: Vec<_> =
        (0..32).map(|n| call(&node, stopped.caller(), payload(n / 8), Duration::from_secs(2))).collect();
    for _ in 0..200 {
        let answer = node.runtime().block_on(call(&node, other.caller(), rpc("other"), LONG)).unwrap();
        assert_eq!(answer, Ok(CallReply::Rpc("{}".to_owned())));
    }
    let deadline = CallFailure::Deadline { module: "stopped".to_owned(), deadline_ms: 200 };
    assert_eq!(node.runtime().block_on(health).unwrap(), Err(deadline));
    for call in late {
        let failure = node.runtime().block_on(call).unwrap().unwrap_err();
        assert!(matches!(failure, CallFailure::Deadline { .. }), "{failure}");
    }
    // Once it goes on it is there again: what was late is not its fault for ever.
    stopped.signal(Signal::SIGCONT);
    let answer = node.runtime().block_on(call(&node, stopped.caller(), Call::Health, LONG)).unwrap();
    assert!(matches!(answer, Ok(CallReply::Health(_))), "{answer:?}");
    let stop = Call::Stop { deadline_ms: 5_000 };
    let answer = node.runtime().block_on(call(&node, stopped.caller(), stop, LONG)).unwrap();
    assert_eq!(answer, Ok(CallReply::Stopping));
    stopped.says("stopping");
}
