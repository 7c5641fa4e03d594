//! Connections to addresses of the book: some at a time, each in another part of the network.
//!
//! Who chooses a node's outbound peers chooses what it sees of the network. So an address is dialled only if nobody else of
//! its network group is, half of the time it is one that answered before, and what peers told is never all there is.
//!
//! Source: `CConnman::ThreadOpenConnections` in Bitcoin Core's `src/net.cpp`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin::p2p::ServiceFlags;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::context::Context;
use super::dialler;
use super::groups::{Group, is_public};
use super::seeds::Seeds;

/// The addresses of the book that are dialled or connected now.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    taken: Mutex<HashSet<SocketAddr>>,
}

/// Whether a node that offers this has blocks to give.
pub(super) fn offers_blocks(services: ServiceFlags) -> bool {
    services.has(ServiceFlags::NETWORK) || services.has(ServiceFlags::NETWORK_LIMITED)
}

/// Keeps as many connections as were asked for, until the node stops.
pub(super) async fn fill(context: Arc<Context>) {
    let mut seeds = Seeds::new(Instant::now());
    loop {
        let has_room = context.outbound.taken.lock().len() < context.options.outbound;
        let next = if has_room { choose(&context) } else { None };
        if let Some(address) = next {
            context.outbound.taken.lock().insert(address);
            context.tasks.spawn(connect(Arc::clone(&context), address));
        }
        let has_peers = context.live.counts().1 > 0;
        if seeds.is_due(has_peers, has_room && next.is_none(), Instant::now()) {
            seeds.ask(&context).await;
        }
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(context.options.outbound_interval) => {}
        }
    }
}

/// One connection, from its dial to its end.
async fn connect(context: Arc<Context>, address: SocketAddr) {
    let was_peer = dialler::visit(&context, address).await;
    // Where nobody can be reached the fault may be this node's.
    let counts = context.live.counts().1 > 0;
    context.addresses.left(address, was_peer, counts, context.options.outbound_pause, &*context.sink);
    context.outbound.taken.lock().remove(&address);
}

/// An address of the book that may be dialled now.
fn choose(context: &Context) -> Option<SocketAddr> {
    let options = &context.options;
    let taken = context.outbound.taken.lock().clone();
    let dialled = context.live.all().into_iter().filter(|peer| !peer.peer.is_inbound);
    let dialled: HashSet<SocketAddr> =
        dialled.map(|peer| peer.address()).chain(taken).chain(options.connect.iter().copied()).collect();
    // Local addresses are apart: they are dialled only where the operator says so.
    let groups: HashSet<Group> = dialled
        .iter()
        .filter(|address| is_public(address.ip()))
        .map(|address| Group::of(address.ip()))
        .collect();
    context.addresses.choose(Instant::now(), |address, services| {
        offers_blocks(services)
            && (options.dials_local || is_public(address.ip()))
            && !dialled.contains(address)
            && !groups.contains(&Group::of(address.ip()))
            && !context.guard.is_banned(address.ip())
    })
}
