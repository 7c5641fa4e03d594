//! Faults of the node this project took its modules' habits from, each reproduced there, and each a test here. Those about
//! the socket; the others are where `grep -rn "fn upstream_fault_"` finds them.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use blvm_bus::message::modules::{Modules, ModulesEvent};
use blvm_bus::request::{FRAME_HEAD_BYTES, FrameHead};
use blvm_sdk::Missed;
use blvm_sdk::request::{Call, CallReply};

use super::modules::Bus;
use super::*;

fn denied(permission: &str) -> Refusal {
    Refusal::Denied { permission: permission.to_owned() }
}

#[test]
fn upstream_fault_02_grants_are_those_of_the_process_and_a_name_brings_nobody_anothers() {
    let bus = Bus::new(RequestLimits::default());
    let mut wallet = bus.module("wallet", &[Permission::ReadMempool], &[], Wishes::new());
    // Another process whose manifest bears the same name, and a third with a name that begins like it.
    let mut namesake = bus.module("wallet", &[Permission::ReadBlockchain], &[], Wishes::new());
    let mut longer = bus.module("wallet-1", &[], &[], Wishes::new());
    assert_eq!(wallet.client().mempool_transactions().unwrap().len(), 1);
    assert_eq!(refused(wallet.client().chain_tip()), denied("read_blockchain"));
    namesake.client().chain_tip().unwrap();
    assert_eq!(refused(namesake.client().mempool_transactions()), denied("read_mempool"));
    // Nothing is given by default either.
    assert_eq!(refused(longer.client().chain_tip()), denied("read_blockchain"));
    drop(namesake);
    assert_eq!(wallet.client().mempool_transactions().unwrap().len(), 1);
}

#[test]
fn upstream_fault_03_no_refusal_closes_the_connection() {
    let limits =
        RequestLimits { per_second: 100, burst: 40, events_per_second: 1, ..RequestLimits::default() };
    let bus = Bus::new(limits);
    let rights = [Permission::ReadBlockchain, Permission::PublishEvents, Permission::CallModule];
    let (mut module, mut socket) = bus.module_and_socket("module", &rights, &[], Wishes::new());
    let client = module.client();
    assert_eq!(refused(client.mempool_transactions()), denied("read_mempool"));
    assert!(matches!(refused(client.call_module("nobody", "any", b"", PATIENCE)), Refusal::Module { .. }));
    assert!(matches!(refused(client.publish_event("BlockConnected", b"")), Refusal::Module { .. }));
    client.publish_event("Route", b"").unwrap();
    assert!(matches!(refused(client.publish_event("Route", b"")), Refusal::Quota { .. }));
    assert!(matches!(refused(client.block([1; 32])), Refusal::Node { .. }));
    client.set_deadline(Some(Duration::from_millis(20)));
    assert!(matches!(refused(client.block_by_height(9)), Refusal::Deadline { .. }));
    client.set_deadline(None);
    // A frame with nothing in it that is a request, one that is longer than it may be, and an answer to no call.
    let limit = limits.frame_bytes.max(limits.submission_bytes) as u32;
    for (is_call, body_bytes) in [(false, 100), (false, limit + 1), (true, 100), (true, limit + 1)] {
        let (descriptors, is_in_memfd, correlation, deadline_ms) = (0, false, 1 << 40, 0);
        let head = FrameHead { body_bytes, descriptors, is_in_memfd, is_call, correlation, deadline_ms };
        let mut frame = vec![0xff; FRAME_HEAD_BYTES + body_bytes as usize];
        frame[..FRAME_HEAD_BYTES].copy_from_slice(&head.encode());
        socket.write_all(&frame).unwrap();
        client.chain_tip().unwrap();
    }
    let rate = (0..1_000).find_map(|_| client.chain_tip().err());
    assert!(matches!(rate, Some(CallError::Refused(Refusal::Rate { .. }))), "{rate:?}");
    until(|| client.chain_tip().is_ok());
}

#[test]
fn upstream_fault_06_a_request_while_events_and_calls_come_gets_its_own_answer_and_loses_none() {
    const EVENTS: u64 = 4_000;
    const CALLS: u64 = 200;
    let limits = RequestLimits {
        per_second: 1_000_000,
        burst: 1_000_000,
        events_per_second: 1_000_000,
        event_bytes_per_second: 1 << 30,
        ..RequestLimits::default()
    };
    let bus = Bus::new(limits);
    let rights = [Permission::SubscribeEvents, Permission::ReadBlockchain, Permission::RegisterRpcEndpoint];
    let mut module = bus.module("module", &rights, &[], Wishes::new().with::<Modules>());
    let mut feed = module.feed::<Modules>().unwrap();
    module.client().register_rpc_endpoint("count", "").unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut publisher = bus.module("publisher", &[Permission::PublishEvents], &[], Wishes::new());
        let events = scope.spawn(move || {
            for number in 0..EVENTS {
                publisher.client().publish_event("Number", &number.to_le_bytes()).unwrap();
            }
        });
        let (registry, bus) = (Arc::clone(&bus.shared.registry), &bus);
        let calls = scope.spawn(move || {
            for number in 0..CALLS {
                let result = registry.call_rpc("count", number.to_string(), PATIENCE);
                assert_eq!(bus.runtime.block_on(result).unwrap(), number.to_string());
            }
        });
        let (is_done, waits) = (&is_done, scope.spawn(move || (events.join(), calls.join())));
        let mut next = 0;
        while next < EVENTS || !is_done.load(Ordering::Relaxed) {
            // Each height is answered with itself.
            let height = 2 + (next % 7) as u32;
            assert_eq!(module.client().block_by_height(height).unwrap().unwrap().hash, [height as u8; 32]);
            while let Some(call) = module.next_call().unwrap() {
                let Call::Rpc { params, .. } = call.call().clone() else { panic!("another call") };
                call.answer(Ok(CallReply::Rpc(params))).unwrap();
            }
            loop {
                match feed.poll() {
                    Ok(None) => break,
                    Ok(Some(received)) => {
                        let ModulesEvent::ModuleEvent(event) = received.event().unwrap();
                        assert_eq!(event.payload.as_slice(), next.to_le_bytes());
                        next += 1;
                    }
                    Err(Missed { messages }) => panic!("{messages} events are lost"),
                }
            }
            is_done.store(waits.is_finished(), Ordering::Relaxed);
            if next < EVENTS {
                module.wait(&[&feed]).unwrap();
            }
        }
        let (events, calls) = waits.join().unwrap();
        events.unwrap();
        calls.unwrap();
        assert_eq!(next, EVENTS);
    });
}

#[test]
fn upstream_fault_07_any_json_goes_to_a_modules_method_and_back() {
    let bus = Bus::new(RequestLimits::default());
    let mut module = bus.module("module", &[Permission::RegisterRpcEndpoint], &[], Wishes::new());
    module.client().register_rpc_endpoint("same", "what it is given").unwrap();
    let module = std::thread::spawn(move || {
        while module.wait(&[]).is_ok() {
            while let Ok(Some(call)) = module.next_call() {
                let Call::Rpc { params, .. } = call.call().clone() else { panic!("another call") };
                let value: serde_json::Value = serde_json::from_str(&params).unwrap();
                call.answer(Ok(CallReply::Rpc(value.to_string()))).unwrap();
            }
        }
    });
    for text in [
        "null",
        "[]",
        "{}",
        r#"{"satoshi":2100000000000000,"rate":0.25,"deep":[{"ö":["\u0000\"",null,true,-1]}]}"#,
        r#"[18446744073709551615,-9223372036854775808,1e300]"#,
    ] {
        let sent: serde_json::Value = serde_json::from_str(text).unwrap();
        let call = bus.shared.registry.call_rpc("same", sent.to_string(), PATIENCE);
        let found: serde_json::Value = serde_json::from_str(&bus.runtime.block_on(call).unwrap()).unwrap();
        assert_eq!(found, sent);
    }
    drop(bus);
    module.join().unwrap();
}
