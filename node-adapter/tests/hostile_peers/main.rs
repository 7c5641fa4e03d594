//! A real node under attack from all kinds of hostile peers at once, for HOSTILE_SECONDS (5 unless set): its memory stays
//! bounded, an honest peer is served all the while, and it ends in order.
#![allow(clippy::unwrap_used, missing_docs)]

mod attacks;
mod node;
mod peer;

use std::thread;
use std::time::{Duration, Instant};

use attacks::ATTACKS;
use node::Node;
use peer::Peer;

/// Attackers at a time; with the honest peer fewer than the node's 32 places, so that it is not them that run out.
const COPIES: usize = 2;

/// What the attackers may cost in private memory: for each 4 MB of an unfinished message, its copy while it is handled, 5 MB of
/// unsent answers, and what the allocator keeps.
const BOUND_BYTES: u64 = (COPIES * ATTACKS.len()) as u64 * 16_000_000 + 64_000_000;

#[test]
fn a_node_under_attack_serves_the_honest_and_keeps_its_memory_bounded() {
    let seconds = std::env::var("HOSTILE_SECONDS").map_or(5, |seconds| seconds.parse().expect("seconds"));
    let mut node = Node::start();
    node.mine(30);
    let mut honest = Peer::join(node.address());
    assert_eq!(honest.ping(), Ok(()));
    let before = node.private_bytes();
    let until = Instant::now() + Duration::from_secs(seconds);
    let address = node.address();
    let mut most = before;
    thread::scope(|scope| {
        let mut attackers = Vec::new();
        for attack in &ATTACKS {
            for _ in 0..COPIES {
                attackers.push((attack, scope.spawn(move || (attack.run)(address, until))));
            }
        }
        let mut slowest = Duration::ZERO;
        while Instant::now() < until {
            let asked = Instant::now();
            honest.ping().expect("the honest peer stays connected");
            slowest = slowest.max(asked.elapsed());
            most = most.max(node.private_bytes());
            thread::sleep(Duration::from_millis(50));
        }
        let mut rounds = std::collections::BTreeMap::new();
        for (attack, attacker) in attackers {
            *rounds.entry(attack.name).or_insert(0) +=
                attacker.join().expect("an attacker that does not panic");
        }
        println!("rounds: {rounds:?}");
        println!(
            "private memory: {} MB before, at most {} MB; slowest pong {slowest:?}",
            before >> 20,
            most >> 20
        );
        for attack in &ATTACKS {
            assert!(rounds[attack.name] >= attack.least_rounds, "{}: {rounds:?}", attack.name);
        }
    });
    assert!(
        most - before <= BOUND_BYTES,
        "{before} bytes before, {most} at most; {BOUND_BYTES} more were allowed"
    );
    honest.ping().expect("the honest peer stays connected");
    assert_eq!(Peer::join(node.address()).ping(), Ok(()), "others are welcome");
    node.mine(1);
    node.stop();
}
