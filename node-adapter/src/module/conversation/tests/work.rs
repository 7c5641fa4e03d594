//! What goes on while a request is at work, and what is read no faster than it may come.

use std::time::Instant as StdInstant;

use blvm_bus::request::{Call, CallReply, HealthState, ModuleHealth};

use super::*;

/// A block at this height, which no other test asks for, is not found before its test opens the gate.
const GATED_HEIGHT: u32 = 0x108;

static GATE: (parking_lot::Mutex<bool>, parking_lot::Condvar) =
    (parking_lot::Mutex::new(false), parking_lot::Condvar::new());

/// Returns at once, but for the height of the gate.
pub(super) fn pass_gate(height: u32) {
    if height == GATED_HEIGHT {
        let mut is_open = GATE.0.lock();
        GATE.1.wait_while(&mut is_open, |is_open| !*is_open);
        *is_open = false;
    }
}

fn open_gate() {
    *GATE.0.lock() = true;
    GATE.1.notify_all();
}

/// Asks after the module's health while it waits for something else, and answers.
fn exchange_health(peer: &mut Peer, module: &Module) {
    let health = ModuleHealth { state: HealthState::Healthy, message: String::new() };
    let (caller, handle) = (module.caller(), tokio::runtime::Handle::current());
    let asked = handle.spawn(async move { caller.call(Call::Health, Duration::from_secs(60)).await });
    let (number, call) = peer.receive_call();
    assert_eq!(call, Call::Health);
    peer.reply(number, CallReply::Health(health.clone()));
    assert_eq!(handle.block_on(asked).unwrap(), Ok(CallReply::Health(health)));
}

#[test]
fn a_module_whose_request_is_at_work_is_called_and_answers_also_when_it_is_late() {
    with_peer(&Permission::ALL, |peer, _, module| {
        peer.attach();
        let gated = encode(&Request::GetBlockByHeight { height: GATED_HEIGHT });
        let block = || {
            Reply::Block(ScriptedNode.block(&[8; 32]).unwrap().map(|block| Block {
                hash: block.hash,
                height: block.height,
                raw: block.raw,
            }))
        };
        peer.send_raw(&gated, 0);
        // Read and kept back: what follows it is read all the same.
        peer.send_raw(&encode(&Request::GetChainTip), 0);
        let tip = peer.correlation;
        exchange_health(peer, module);
        exchange_health(peer, module);
        open_gate();
        assert_eq!(peer.receive(), (tip - 1, block()));
        assert!(matches!(peer.receive(), (number, Reply::ChainTip(_)) if number == tip));

        peer.send_raw(&gated, 20);
        let late = peer.correlation;
        assert_eq!(peer.receive(), (late, Reply::Refused(Refusal::Deadline { deadline_ms: 20 })));
        // It is still at work. What needs no thread is served, what needs one waits.
        assert_eq!(peer.ask(&Request::ReportStatistics(Statistics::default())), Reply::Noted);
        peer.send_raw(&encode(&Request::GetChainTip), 0);
        exchange_health(peer, module);
        open_gate();
        assert!(matches!(peer.receive(), (number, Reply::ChainTip(_)) if number == late + 2));
    });
}

#[test]
fn frames_beyond_the_rate_are_read_no_faster_than_they_may_come() {
    let limits = RequestLimits { per_second: 100, burst: 4, ..RequestLimits::default() };
    // Refused requests, then answers that nobody waits for: of each two, one must wait for its turn.
    with_limited_peer(limits, &Permission::ALL, |peer, _, _| {
        let start = StdInstant::now();
        peer.attach();
        for _ in 0..60 {
            peer.send_raw(&encode(&Request::GetChainTip), 0);
        }
        let refused = (0..60).filter(|_| matches!(peer.receive().1, Reply::Refused(_))).count();
        assert!(refused > 0 && start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
    });
    with_limited_peer(limits, &Permission::ALL, |peer, _, _| {
        let start = StdInstant::now();
        peer.attach();
        for _ in 0..60 {
            peer.send_outcome(999, b"anything");
        }
        peer.ask(&Request::GetChainTip);
        assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
    });
}

#[test]
fn what_a_process_has_left_in_its_socket_changes_nothing_once_it_has_exited() {
    with_peer(&Permission::ALL, |peer, _, module| {
        peer.attach();
        module.calls().unwrap().close();
        peer.send_raw(&encode(&Request::ReportStatistics(Statistics::default())), 0);
        let end = recv_with_descriptors(&peer.socket, &mut [0; 64], &mut Vec::new());
        assert!(!matches!(end, Ok(1..)), "answered: {end:?}");
        assert_eq!(module.statistics(), None);
    });
}
