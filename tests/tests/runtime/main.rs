//! Modules written with the macros, as real processes under a node.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use blvm_bus::request::{Call, CallReply, Permission};
use blvm_node_adapter::topics::TopicsOptions;
use blvm_tests::made_up::raw_block;
use blvm_tests::node::{Module, Node};

const PROGRAM: &str = env!("CARGO_BIN_EXE_macro-module");
const LONG: Duration = Duration::from_secs(60);

/// Asks it to end, and waits until it has.
fn stop(node: &Node, module: &mut Module<'_>) {
    let caller = module.caller();
    let stop = Call::Stop { deadline_ms: 60_000 };
    let answer = node.runtime().block_on(async move { caller.call(stop, LONG).await });
    assert_eq!(answer, Ok(CallReply::Stopping));
    module.exits_content();
}

#[test]
fn a_handler_is_given_the_fields_and_the_bytes_of_each_block_and_the_module_ends_when_it_is_asked() {
    let node = Node::start(TopicsOptions::default());
    let mut module = node.start_module_with("printer", PROGRAM, &[], &[Permission::ReadBlockchain]);
    module.says("on regtest");
    let start = module.start;
    for height in 1..=3 {
        node.publish(height);
        let bytes = raw_block(height).len();
        let sequence = start + u64::from(height) - 1;
        module.says(&format!("block {height} {height:02x} 1 {bytes} bytes in place at {sequence}"));
    }
    stop(&node, &mut module);
    let statistics = module.chain_statistics();
    assert_eq!((statistics.received, statistics.missed, statistics.bodies_gone), (3, 0, 0));
    assert_eq!(statistics.processed_through, start + 2);
}
