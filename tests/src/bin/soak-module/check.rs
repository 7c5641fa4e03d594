//! Is a message, to the last byte, what its sequence says?

use blvm_sdk::{
    BlockBody, Chain, ChainEvent, Mempool, MempoolEvent, Peers, PeersEvent, ReorganisationBody, SystemEvent,
    Topic,
};

use crate::soak::content::{self, ChainContent, MempoolContent};

type Checked = Result<(), String>;

fn demand(is_so: bool, what: &str, sequence: u64) -> Checked {
    if is_so { Ok(()) } else { Err(format!("{what} of sequence {sequence} is not what was published")) }
}

/// A message of `chain`, without its body.
pub(crate) fn chain(sequence: u64, event: &ChainEvent<'_>) -> Checked {
    let key = content::key(Chain::NUMBER, sequence);
    let (hash, previous) = (content::hash(key), content::hash(content::key(Chain::NUMBER, sequence - 1)));
    let is_so = match (content::chain(key), event) {
        (ChainContent::Block { raw_bytes, transactions }, ChainEvent::BlockConnected(block)) => {
            block.hash == hash
                && block.previous == previous
                && u64::from(block.height.to_native()) == sequence
                && block.transactions.to_native() as usize == transactions
                && block.raw_bytes.to_native() as usize == raw_bytes
        }
        (ChainContent::Disconnected, ChainEvent::BlockDisconnected(block)) => {
            block.hash == hash
                && block.previous == previous
                && u64::from(block.height.to_native()) == sequence
        }
        (ChainContent::Reorganised { disconnected, connected }, ChainEvent::ChainReorganised(event)) => {
            event.fork_hash == hash
                && u64::from(event.fork_height.to_native()) == sequence
                && event.disconnected.to_native() as usize == disconnected
                && event.connected.to_native() as usize == connected
        }
        _ => false,
    };
    demand(is_so, "the chain message", sequence)
}

/// A body of `chain`, where it stands.
pub(crate) fn chain_body(sequence: u64, found: &[u8]) -> Checked {
    let key = content::key(Chain::NUMBER, sequence);
    match content::chain(key) {
        ChainContent::Block { raw_bytes, transactions } => {
            let body = BlockBody::access(found).map_err(|error| format!("sequence {sequence}: {error}"))?;
            let entries = body.transactions.get();
            demand(entries.len() == transactions, "the length of the index", sequence)?;
            for (index, entry) in entries.iter().enumerate() {
                let expected = content::entry(key, index);
                let is_so = entry.txid == expected.txid
                    && entry.wtxid == expected.wtxid
                    && entry.fee_sat.to_native() == expected.fee_sat.unwrap_or(u64::MAX)
                    && entry.offset_bytes.to_native() == expected.offset_bytes
                    && entry.length_bytes.to_native() == expected.length_bytes
                    && entry.weight.to_native() == expected.weight;
                demand(is_so, "an entry of the index", sequence)?;
            }
            block(sequence, body.raw.get(), raw_bytes)
        }
        ChainContent::Reorganised { disconnected, connected } => {
            let body =
                ReorganisationBody::access(found).map_err(|error| format!("sequence {sequence}: {error}"))?;
            for (list, found, length) in
                [(0, body.disconnected.get(), disconnected), (1, body.connected.get(), connected)]
            {
                let is_so = found.len() == length
                    && (0..).zip(found).all(|(index, hash)| *hash == content::listed(key, list, index));
                demand(is_so, "a list of hashes", sequence)?;
            }
            Ok(())
        }
        ChainContent::Disconnected => Err(format!("sequence {sequence} has a body and should have none")),
    }
}

/// The bytes of the block at `sequence`.
pub(crate) fn block(sequence: u64, found: &[u8], raw_bytes: usize) -> Checked {
    demand(found.len() == raw_bytes, "the length of the block", sequence)?;
    match content::first_difference(content::key(Chain::NUMBER, sequence), found) {
        None => Ok(()),
        Some(byte) => {
            Err(format!("byte {byte} of the block at sequence {sequence} is not what was published"))
        }
    }
}

/// A message of `mempool`.
pub(crate) fn mempool(sequence: u64, event: &MempoolEvent<'_>) -> Checked {
    let key = content::key(Mempool::NUMBER, sequence);
    let hash = content::hash(key);
    let is_so = match (content::mempool(key), event) {
        (MempoolContent::Added { raw_bytes }, MempoolEvent::TransactionAdded(added)) => {
            added.txid == hash
                && added.wtxid == content::hash(key ^ 2)
                && added.fee_sat.to_native() == key
                && added.weight.to_native() == key as u32
                && added.raw.len() == raw_bytes
                && content::first_difference(key, &added.raw).is_none()
        }
        (MempoolContent::Removed { reason }, MempoolEvent::TransactionRemoved(removed)) => {
            let replaced_by = if reason == 2 { content::hash(key ^ 2) } else { [0; 32] };
            removed.txid == hash && removed.reason.to_native() == reason && removed.replaced_by == replaced_by
        }
        _ => false,
    };
    demand(is_so, "the mempool message", sequence)
}

/// A message of `peers`.
pub(crate) fn peers(sequence: u64, event: &PeersEvent<'_>) -> Checked {
    let key = content::key(Peers::NUMBER, sequence);
    let letters = content::letters(key, content::peer_letters(key));
    let is_so = match event {
        PeersEvent::PeerConnected(peer) => {
            sequence.is_multiple_of(4)
                && peer.id.to_native() == sequence
                && peer.address == format!("{sequence}:{}", key as u16)
                && peer.is_inbound == (key & 1 == 1)
                && peer.protocol_version.to_native() == key as u32
                && peer.services.to_native() == key
                && peer.user_agent == *letters
                && peer.start_height.to_native() == key as i32
        }
        PeersEvent::PeerDisconnected(peer) => {
            sequence % 4 == 1 && peer.id.to_native() == sequence && peer.reason == *letters
        }
        PeersEvent::MessageReceived(message) => {
            sequence % 4 == 2
                && message.peer.to_native() == sequence
                && message.command == letters[..letters.len().min(12)]
                && message.payload_bytes.to_native() == key as u32
        }
        PeersEvent::PeerMisbehaved(peer) => {
            sequence % 4 == 3
                && peer.peer.to_native() == sequence
                && peer.points.to_native() == key as u32
                && peer.total.to_native() == (key >> 32) as u32
                && peer.offence == *letters
        }
        _ => false,
    };
    demand(is_so, "the peers message", sequence)
}

/// A message of `system`; the number of it among those of the test, if it is one of them.
///
/// The node tells of its modules in between: what comes at which sequence is not known, only what each message says.
pub(crate) fn system(sequence: u64, event: &SystemEvent<'_>) -> Result<Option<u64>, String> {
    match event {
        SystemEvent::NodeStartupCompleted(event) => {
            let number = u64::from(event.height.to_native());
            let key = content::key(0, number);
            let letters = content::letters(key, content::system_letters(key));
            demand(
                event.network == *letters && event.tip == content::hash(key),
                "the system message",
                sequence,
            )?;
            Ok(Some(number))
        }
        SystemEvent::NodeShutdown(event) => {
            let (number, letters) = event.reason.split_once(' ').unwrap_or_default();
            let number = number.parse().map_err(|_| format!("system, sequence {sequence}: no number"))?;
            let key = content::key(0, number);
            let expected = content::letters(key, content::system_letters(key));
            demand(letters == expected, "the system message", sequence)?;
            Ok(Some(number))
        }
        SystemEvent::ModuleStarted(event) => {
            demand(event.name.starts_with("soak-") && event.pid > 0, "a module's start", sequence)?;
            Ok(None)
        }
        SystemEvent::ModuleStopped(event) => {
            demand(event.name.starts_with("soak-") && event.pid > 0, "a module's end", sequence)?;
            Ok(None)
        }
        SystemEvent::ModuleCrashed(event) => {
            demand(event.name.starts_with("soak-") && event.pid > 0, "a module's crash", sequence)?;
            Ok(None)
        }
        // The other kinds: nobody publishes them here.
        _ => Err(format!("system, sequence {sequence}: a kind that was not published")),
    }
}
