//! Modules written with the macros, as real processes under a node.
#![allow(missing_docs, clippy::unwrap_used)]

mod blvm;
mod by_path;
mod given;

use std::time::Duration;

use blvm_bus::request::{
    Call, CallReply, CliArgumentForm, CommandOutput, HealthState, ModuleError, ModuleHealth, Permission,
};
use blvm_node_adapter::module::{CallFailure, RegistryError};
use blvm_node_adapter::source::{ChainPosition, EventSink as _, NodeEvent, RemovalReason};
use blvm_node_adapter::topics::TopicsOptions;
use blvm_sdk::{Mempool, Topic as _};
use blvm_tests::made_up::raw_block;
use blvm_tests::node::{Module, Node, await_state};

const PROGRAM: &str = env!("CARGO_BIN_EXE_macro-module");
const LONG: Duration = Duration::from_secs(60);
const RIGHTS: [Permission; 4] = [
    Permission::ReadBlockchain,
    Permission::ReadMempool,
    Permission::RegisterRpcEndpoint,
    Permission::SubscribeEvents,
];

fn start(node: &Node) -> Module<'_> {
    let module = node.start_module_with("probe", PROGRAM, &[], &RIGHTS);
    // Methods and commands are registered last.
    await_state("it offers its command", || !node.registry().specs().is_empty());
    module
}

fn call(node: &Node, module: &Module<'_>, call: Call) -> Result<CallReply, CallFailure> {
    let caller = module.caller();
    node.runtime().block_on(async move { caller.call(call, LONG).await })
}

fn rpc(node: &Node, method: &str, params: &str) -> Result<String, ModuleError> {
    let (registry, params) = (node.registry(), params.to_owned());
    match node.runtime().block_on(registry.call_rpc(method, params, LONG)) {
        Ok(result) => Ok(result),
        Err(RegistryError::Call(CallFailure::Module { error, .. })) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

fn command(node: &Node, words: &[&str]) -> CommandOutput {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let registry = node.registry();
    node.runtime().block_on(registry.run_command("probe", words, LONG)).unwrap()
}

fn open(node: &Node, gate: &str) {
    assert_eq!(rpc(node, "probe_open", &format!(r#"{{"gate": "{gate}"}}"#)).unwrap(), "null");
}

fn health(node: &Node, module: &Module<'_>) -> ModuleHealth {
    match call(node, module, Call::Health) {
        Ok(CallReply::Health(health)) => health,
        other => panic!("{other:?}"),
    }
}

fn ask_to_end(node: &Node, module: &Module<'_>) {
    assert_eq!(call(node, module, Call::Stop { deadline_ms: 60_000 }), Ok(CallReply::Stopping));
}

/// Asks it to end, and waits until it has.
fn stop(node: &Node, module: &mut Module<'_>) {
    ask_to_end(node, module);
    module.exits_content();
}

fn removal(number: u8) -> NodeEvent {
    NodeEvent::TransactionRemoved { txid: [number; 32], reason: RemovalReason::Expired }
}

/// How many messages of `mempool` it has read, and through which all are finished, as it said last.
fn mempool_read(module: &Module<'_>) -> Option<(u64, u64)> {
    let topics = module.statistics()?.topics;
    let topic = topics.into_iter().find(|topic| topic.topic == Mempool::NUMBER)?;
    Some((topic.received, topic.processed_through))
}

#[test]
fn handlers_are_given_the_fields_and_the_bodies_by_name_and_the_module_ends_when_it_is_asked() {
    let node = Node::start(TopicsOptions::default());
    let mut module = start(&node);
    module.says("on regtest at 0");
    let start = module.start;
    for height in 1..=3 {
        node.publish(height);
        let bytes = raw_block(height).len();
        let sequence = start + u64::from(height) - 1;
        module.says(&format!("block {height} {height:02x} 1 {bytes} bytes in place at {sequence}"));
    }
    let position = |height| ChainPosition { hash: [height; 32], height: u32::from(height) };
    node.topics.event(NodeEvent::BlockDisconnected { position: position(3), previous: [2; 32] });
    node.topics.event(NodeEvent::ChainReorganised {
        fork: position(2),
        disconnected: vec![[3; 32]],
        connected: vec![[4; 32], [5; 32]],
    });
    // In order, though the first of them is async.
    module.says("reorganised from 2: 1 left, lists Some((1, 2))");
    assert!(module.said().contains(&"disconnected 3 back to 02".to_owned()), "{:?}", module.said());
    node.topics.event(NodeEvent::MempoolCleared { transactions: 9 });
    module.says("cleared 9");
    module.says("tick");
    stop(&node, &mut module);
    module.says("dropped, answered true");
    let statistics = module.chain_statistics();
    assert_eq!((statistics.received, statistics.missed, statistics.bodies_gone), (5, 0, 0));
    assert_eq!(statistics.processed_through, start + 4);
}

#[test]
fn a_handler_that_waits_holds_up_its_own_topic_only_and_is_finished_before_the_module_ends() {
    let node = Node::start(TopicsOptions::default());
    let mut module = start(&node);
    node.publish(100);
    module.says_with("block 100 is there", |line| line.starts_with("block 100").then_some(()));
    node.publish(101);
    // Another topic, methods, commands and timers go on.
    node.topics.event(NodeEvent::MempoolCleared { transactions: 7 });
    module.says("cleared 7");
    assert_eq!(rpc(&node, "probe_echo", r#"{"text": "a"}"#).unwrap(), "\"a\"");
    assert_eq!(command(&node, &["say", "hello", "--loud"]).output, "HELLO\n");
    assert_eq!(health(&node, &module).state, HealthState::Healthy);
    ask_to_end(&node, &module);
    // It still answers, and nothing new begins.
    open(&node, "block");
    module.exits_content();
    let said = module.said();
    assert!(said.contains(&"finished 100".to_owned()), "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("block 101")), "{said:?}");
    let statistics = module.chain_statistics();
    assert_eq!((statistics.received, statistics.processed_through), (1, module.start));
}

#[test]
fn concurrent_handlers_run_up_to_the_bound_and_count_as_finished_one_by_one() {
    let node = Node::start(TopicsOptions::default());
    let mut module = start(&node);
    let first = node.topics.next_sequence(Mempool::NUMBER).unwrap();
    for number in 0..6 {
        node.topics.event(removal(number));
    }
    module.says_with("four are at work", |line| line.ends_with("4 at once").then_some(()));
    // What is not finished is read again by a successor.
    await_state("four were read", || mempool_read(&module).is_some_and(|(received, _)| received >= 4));
    assert_eq!(mempool_read(&module).unwrap().1, first - 1);
    open(&node, "removal");
    for number in 0..6 {
        module.says(&format!("removed {number}"));
    }
    assert!(!module.said().iter().any(|line| line.ends_with("5 at once")), "{:?}", module.said());
    await_state("the finished ones are told", || mempool_read(&module) == Some((6, first + 5)));
    stop(&node, &mut module);
    assert_eq!(mempool_read(&module), Some((6, first + 5)));
}

#[test]
fn panics_and_errors_stay_in_their_handler_and_are_told() {
    let node = Node::start(TopicsOptions::default());
    let mut module = start(&node);
    assert_eq!(health(&node, &module), ModuleHealth { state: HealthState::Healthy, message: String::new() });
    command(&node, &["degrade", "by itself"]);
    let own = ModuleHealth { state: HealthState::Degraded, message: "by itself".to_owned() };
    assert_eq!(health(&node, &module), own);
    node.publish(200);
    node.publish(201);
    module.says("finished 201");
    let told = health(&node, &module);
    let expected = "handler block panicked 1 times and failed 0 times, the last: two hundred";
    assert_eq!((told.state, told.message.as_str()), (HealthState::Degraded, expected));
    node.publish(300);
    node.publish(301);
    module.says("finished 301");
    module.says("block: three hundred");
    assert!(health(&node, &module).message.ends_with("failed 1 times, the last: three hundred"));
    let panicked = ModuleError::Panicked { message: "as asked".to_owned() };
    assert_eq!(rpc(&node, "probe_panic", ""), Err(panicked));
    assert!(health(&node, &module).message.starts_with("handler probe_panic panicked 1 times"));
    stop(&node, &mut module);
    assert_eq!(module.chain_statistics().received, 4);
}

#[test]
fn what_was_overwritten_is_told_exactly_and_reading_goes_on() {
    let mut options = TopicsOptions::default();
    options.chain.depth = 8;
    let node = Node::start(options);
    let mut module = start(&node);
    node.publish(100);
    module.says_with("block 100 is there", |line| line.starts_with("block 100").then_some(()));
    for height in 1..=20 {
        node.publish(height);
    }
    open(&node, "block");
    // The ring holds the last 8.
    module.says("missed 12 of chain");
    module.says("finished 20");
    let said = module.said();
    let finished: Vec<_> = said.iter().filter_map(|line| line.strip_prefix("finished ")).collect();
    assert_eq!(finished, ["100", "13", "14", "15", "16", "17", "18", "19", "20"]);
    stop(&node, &mut module);
    let statistics = module.chain_statistics();
    assert_eq!((statistics.received, statistics.missed), (9, 12));
}

#[test]
fn methods_take_parameters_by_name_and_commands_words_as_they_say() {
    let node = Node::start(TopicsOptions::default());
    let mut module = start(&node);
    assert_eq!(rpc(&node, "probe_echo", r#"{"times": 2, "text": "ab"}"#).unwrap(), "\"abab\"");
    assert_eq!(rpc(&node, "probe_echo", r#"["ab", 1]"#).unwrap(), "\"ab\"");
    let failed = ModuleError::Failed { code: 17, message: "not at all".to_owned() };
    assert_eq!(rpc(&node, "probe_echo", r#"["ab", 0]"#), Err(failed));
    let wrong = |message: &str| Err(ModuleError::WrongParameters { message: message.to_owned() });
    assert_eq!(rpc(&node, "probe_echo", "{}"), wrong("the parameter \"text\" is missing"));
    let unknown = "there is no parameter \"txt\"; there are: text, times";
    assert_eq!(rpc(&node, "probe_echo", r#"{"txt": "a"}"#), wrong(unknown));
    let about =
        node.registry().methods().into_iter().find(|method| method.method == "probe_open").unwrap().about;
    assert_eq!(about, "Lets those go on that wait at a gate.");

    let spec = node.registry().specs().remove(0).spec;
    assert_eq!(spec.name, "probe");
    let say = spec.commands.iter().find(|command| command.name == "say").unwrap();
    let arguments: Vec<_> = say
        .arguments
        .iter()
        .map(|argument| {
            (argument.name.as_str(), argument.about.as_str(), argument.form, argument.is_required)
        })
        .collect();
    let expected = [
        ("text", "What.", CliArgumentForm::Positional, true),
        ("loud", "Louder.", CliArgumentForm::Flag, false),
        ("times", "How often.", CliArgumentForm::Option, false),
    ];
    assert_eq!((say.about.as_str(), arguments.as_slice()), ("Says something.", expected.as_slice()));
    let output = |words: &[&str]| {
        let CommandOutput { output, error, status } = command(&node, words);
        (output, error, status)
    };
    let of = |output: &str, error: &str, status| (output.to_owned(), error.to_owned(), status);
    assert_eq!(output(&["say", "--times", "2", "ab"]), of("abab\n", "", 0));
    assert_eq!(output(&["say", ""]), of("", "nothing to say\n", 1));
    assert_eq!(output(&["say"]), of("", "TEXT is missing\n", 2));
    let wrong = "TIMES cannot be \"x\": invalid digit found in string\n";
    assert_eq!(output(&["say", "a", "--times=x"]), of("", wrong, 2));
    assert_eq!(output(&["sing"]), of("", "there is no command \"sing\"; there are: say, degrade\n", 2));
    stop(&node, &mut module);
}
