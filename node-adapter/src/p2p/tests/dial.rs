//! Nodes that dial each other.

use std::collections::BTreeSet;

use super::*;
use crate::source::{NetworkApi as _, NetworkStats, Peer};

impl Fixture {
    /// A node that dials `address`, and again soon after each failure.
    async fn dialling(address: SocketAddr) -> Self {
        Self::with(|options| {
            options.connect = vec![address];
            options.redial_first = Duration::from_millis(10);
            options.redial_longest = Duration::from_millis(20);
        })
        .await
    }

    fn connected(&self) -> Vec<Peer> {
        let peer = |event| match event {
            NodeEvent::PeerConnected(peer) => Some(peer),
            _ => None,
        };
        self.events.all().into_iter().filter_map(peer).collect()
    }

    fn attempts(&self) -> Vec<(String, bool)> {
        let attempt = |event| match event {
            NodeEvent::ConnectionAttempt { address, failure } => Some((address, failure.is_none())),
            _ => None,
        };
        self.events.all().into_iter().filter_map(attempt).collect()
    }
}

#[tokio::test]
async fn a_dialled_node_is_an_outbound_peer_here_and_an_inbound_one_there() {
    let theirs = Fixture::start().await;
    let ours = Fixture::dialling(theirs.address()).await;
    until(|| ours.p2p.peer_count() == 1 && theirs.p2p.peer_count() == 1).await;
    assert_eq!(ours.attempts(), [(theirs.address().to_string(), true)]);
    let [peer] = &ours.connected()[..] else { panic!("one peer") };
    assert_eq!((peer.is_inbound, &peer.address), (false, &theirs.address().to_string()));
    assert_eq!((peer.services, peer.user_agent.as_str()), (9, USER_AGENT));
    assert!(theirs.connected()[0].is_inbound);
    let (statuses, mark) = ours.p2p.peers(&|| 7);
    assert_eq!((statuses.len(), mark, &statuses[0].peer), (1, 7, peer));
    assert_eq!(statuses[0].best_height, node::HEIGHT as i32);
    let (here, there) = (ours.p2p.stats(), theirs.p2p.stats());
    assert_eq!((here.inbound, here.outbound, there.inbound, there.outbound), (0, 1, 1, 0));
    // What one has written may still be on its way to the other.
    let agree = || {
        let crossed = |a: NetworkStats, b: NetworkStats| a.sent_bytes == b.received_bytes;
        crossed(ours.p2p.stats(), theirs.p2p.stats()) && crossed(theirs.p2p.stats(), ours.p2p.stats())
    };
    until(agree).await;
    assert!(here.sent_bytes > 100);
}

#[tokio::test]
async fn an_address_is_dialled_until_somebody_answers_and_again_when_they_leave() {
    let address = Fixture::start().await.address();
    let ours = Fixture::dialling(address).await;
    until(|| ours.attempts().iter().filter(|(_, is_connected)| !is_connected).count() >= 2).await;
    for round in 1..=2 {
        let theirs = Fixture::with(|options| options.listen = vec![address]).await;
        until(|| ours.connected().len() == round && ours.p2p.peer_count() == 1).await;
        theirs.p2p.shutdown().await;
        until(|| ours.p2p.peer_count() == 0).await;
    }
    let ids: Vec<_> = ours.connected().iter().map(|peer| peer.id).collect();
    assert_eq!(ids, [1, 2]);
    ours.p2p.shutdown().await;
}

#[tokio::test]
async fn a_node_that_dials_itself_gets_no_peer() {
    // The address is known only once it listens, so that the dialler must be a second start with the same registry.
    let registry = Registry::default();
    let listening = Fixture::with(|options| options.registry = registry.clone()).await;
    let dialling = Fixture::with(|options| {
        options.registry = registry.clone();
        options.connect = vec![listening.address()];
        options.redial_first = Duration::from_millis(1);
    })
    .await;
    until(|| dialling.attempts().len() >= 3).await;
    assert_eq!((dialling.connected().len(), listening.connected().len()), (0, 0));
}

#[tokio::test]
async fn addresses_are_learnt_by_dialling_and_from_those_dialled() {
    let first = Fixture::start().await;
    let second = Fixture::dialling(first.address()).await;
    until(|| second.p2p.stats().addresses == 1).await;
    let third = Fixture::dialling(second.address()).await;
    until(|| third.p2p.stats().addresses == 2).await;
    let mut learnt: Vec<_> = third
        .events
        .all()
        .into_iter()
        .filter_map(|event| match event {
            NodeEvent::AddressDiscovered { address, services } => Some((address, services)),
            _ => None,
        })
        .collect();
    learnt.sort();
    let mut expected = [(first.address().to_string(), 9), (second.address().to_string(), 9)];
    expected.sort();
    assert_eq!(learnt, expected);
    assert_eq!(first.p2p.stats().addresses, 0, "who dialled has told no address");
}

/// Options of a node that dials addresses of its book, on loopback too, without long pauses.
fn sociable(options: &mut P2pOptions) {
    options.outbound = 8;
    options.dials_local = true;
    options.outbound_interval = Duration::from_millis(5);
    options.outbound_pause = Duration::from_millis(20);
}

#[tokio::test]
async fn what_a_peer_told_is_dialled_and_found_again_in_the_file_by_the_next_node() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("addresses.json");
    let (first, second) = (Fixture::start().await, Fixture::start().await);
    let middle = Fixture::dialling(first.address()).await;
    until(|| middle.p2p.stats().addresses == 1).await;
    let ours = Fixture::with(|options| {
        sociable(options);
        options.connect = vec![middle.address(), second.address()];
        options.addresses = Some(file.clone());
    })
    .await;
    let addresses = |fixture: &Fixture| {
        let connected = fixture.connected();
        connected.into_iter().map(|peer| peer.address).collect::<BTreeSet<_>>()
    };
    let all = [&first, &second, &middle].map(|fixture| fixture.address().to_string());
    until(|| addresses(&ours) == all.clone().into()).await;
    assert_eq!(ours.p2p.stats().outbound, 3);
    ours.p2p.shutdown().await;
    // Nobody is named to this one but by the book.
    let next = Fixture::with(|options| {
        sociable(options);
        options.addresses = Some(file.clone());
    })
    .await;
    until(|| next.p2p.stats().outbound == 3).await;
    assert_eq!(addresses(&next), all.into());
    first.p2p.shutdown().await;
    until(|| next.p2p.stats().outbound == 2).await;
    // It is dialled again, as long as nobody answers.
    let attempts = || next.attempts().iter().filter(|(_, is_connected)| !is_connected).count();
    until(|| attempts() >= 2).await;
}

#[tokio::test]
async fn neither_local_addresses_nor_more_than_asked_for_are_dialled() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("addresses.json");
    let others = [Fixture::start().await, Fixture::start().await, Fixture::start().await];
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let line = |address, services| {
        format!("{{\"address\":\"{address}\",\"services\":{services},\"seen_s\":{now_s}}}\n")
    };
    let mut lines: String = others.iter().map(|other| line(other.address(), 9)).collect();
    // Somebody without blocks is not dialled at all.
    lines.push_str(&line(SocketAddr::from(([127, 0, 0, 1], 9)), 0));
    std::fs::write(&file, lines).unwrap();
    let start = async |change: fn(&mut P2pOptions)| {
        Fixture::with(|options| {
            sociable(options);
            options.addresses = Some(file.clone());
            change(options);
        })
        .await
    };
    let two = start(|options| options.outbound = 2).await;
    let cautious = start(|options| options.dials_local = false).await;
    until(|| two.p2p.stats().outbound == 2).await;
    // Long enough for many more dials.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((two.attempts().len(), two.p2p.stats().outbound), (2, 2));
    assert_eq!((cautious.attempts().len(), cautious.p2p.stats().addresses), (0, 4));
    let connected = || two.connected().into_iter().map(|peer| peer.address).collect::<BTreeSet<_>>();
    let ended = connected().pop_first().unwrap();
    others.iter().find(|other| other.address().to_string() == ended).unwrap().p2p.shutdown().await;
    // Its place goes to the third.
    until(|| connected().len() == 3 && two.p2p.stats().outbound == 2).await;
}

#[tokio::test]
async fn a_seed_leads_a_node_that_knows_nobody_to_its_first_peer() {
    let theirs = Fixture::start().await;
    let ours = Fixture::with(|options| {
        sociable(options);
        options.seeds = vec!["not a name\0".to_owned(), "localhost".to_owned()];
        options.seed_port = theirs.address().port();
    })
    .await;
    until(|| ours.connected().iter().any(|peer| peer.address == theirs.address().to_string())).await;
}
