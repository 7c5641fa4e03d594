//! What a dialled connection has to say: queued messages, and the transactions it announced.

use std::collections::{HashMap, VecDeque};

use bitcoin::Transaction;
use bitcoin::consensus::Encodable;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::Magic;
use bitcoin::p2p::message_blockdata::Inventory;
use tokio_util::bytes::{Buf as _, Bytes};

use super::connection::ConnectionError;
use super::message::{self, Message};
use super::wire::{Command, Frame};
use crate::source::Hash;

/// Announced transactions that can still be asked for; the oldest is forgotten first.
const CAPACITY: usize = 20_000;

/// Answers that may wait for a peer that asks without reading.
const MAX_PENDING_BYTES: usize = 32_000_000;

/// The state of a dialled connection, without its socket.
#[derive(Debug)]
pub(super) struct Offered {
    magic: Magic,
    by_wtxid: bool,
    /// Messages ready to be sent, by txid and by wtxid.
    frames: HashMap<Hash, Bytes>,
    order: VecDeque<[Hash; 2]>,
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    served: u64,
    last_pong: Option<u64>,
}

impl Offered {
    /// Nothing yet; `by_wtxid` is how transactions are announced (BIP-0339).
    pub fn new(magic: Magic, by_wtxid: bool) -> Self {
        Self {
            magic,
            by_wtxid,
            frames: HashMap::new(),
            order: VecDeque::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            served: 0,
            last_pong: None,
        }
    }

    /// Queues a message.
    pub fn send<T: Encodable>(&mut self, command: Command, value: &T) {
        self.queue(message::frame(self.magic, command, value));
    }

    /// Keeps a transaction for the peer to ask for; answers how to announce it.
    pub fn insert(&mut self, transaction: &Transaction) -> Inventory {
        let (txid, wtxid) = (transaction.compute_txid(), transaction.compute_wtxid());
        let ids = [txid.to_byte_array(), wtxid.to_byte_array()];
        let frame = message::frame(self.magic, message::TX, transaction);
        if self.frames.insert(ids[1], frame.clone()).is_none() {
            self.frames.insert(ids[0], frame);
            self.order.push_back(ids);
        }
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.iter().for_each(|id| drop(self.frames.remove(id)));
        }
        if self.by_wtxid { Inventory::WTx(wtxid) } else { Inventory::Transaction(txid) }
    }

    /// The bytes to write next; empty when there are none.
    pub fn front(&self) -> Bytes {
        self.pending.front().cloned().unwrap_or_default()
    }

    /// Notes that this many bytes of [`Offered::front`] were written.
    pub fn written(&mut self, bytes: usize) {
        let Some(front) = self.pending.front_mut() else { return };
        front.advance(bytes);
        self.pending_bytes -= bytes;
        if front.is_empty() {
            self.pending.pop_front();
        }
    }

    /// Bytes not yet written.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Transactions sent because the peer asked for them.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Nonce of the latest pong.
    pub fn last_pong(&self) -> Option<u64> {
        self.last_pong
    }

    /// Answers pings and requests; other messages are ignored.
    pub fn handle(&mut self, frame: &Frame) -> Result<(), ConnectionError> {
        match Message::decode(frame)? {
            Message::Ping(nonce) => self.send(message::PONG, &nonce),
            Message::Pong(nonce) => self.last_pong = Some(nonce),
            Message::GetData(items) => self.serve(items)?,
            _ => tracing::trace!(command = %frame.command, "ignored"),
        }
        self.bounded()
    }

    fn serve(&mut self, items: Vec<Inventory>) -> Result<(), ConnectionError> {
        let mut missing = Vec::new();
        for item in items {
            let id = match &item {
                Inventory::WTx(wtxid) => wtxid.to_byte_array(),
                Inventory::Transaction(txid) | Inventory::WitnessTransaction(txid) => txid.to_byte_array(),
                _ => continue,
            };
            match self.frames.get(&id).cloned() {
                Some(frame) => {
                    self.served += 1;
                    self.queue(frame);
                    self.bounded()?;
                }
                None => missing.push(item),
            }
        }
        if !missing.is_empty() {
            self.send(message::NOT_FOUND, &missing);
        }
        Ok(())
    }

    fn queue(&mut self, frame: Bytes) {
        self.pending_bytes += frame.len();
        self.pending.push_back(frame);
    }

    fn bounded(&self) -> Result<(), ConnectionError> {
        if self.pending_bytes > MAX_PENDING_BYTES {
            return Err(ConnectionError::Flooded { pending_bytes: self.pending_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::{absolute::LockTime, transaction::Version};

    fn transaction(n: u32) -> Transaction {
        let lock_time = LockTime::from_consensus(n);
        Transaction { version: Version::TWO, lock_time, input: vec![], output: vec![] }
    }

    fn request(items: Vec<Inventory>) -> Frame {
        let payload = bitcoin::consensus::serialize(&items).into();
        Frame { command: message::GET_DATA, payload }
    }

    #[test]
    fn what_was_announced_is_served_and_the_rest_is_not_found() {
        let mut offered = Offered::new(Magic::REGTEST, true);
        let held = offered.insert(&transaction(1));
        assert!(matches!(held, Inventory::WTx(_)));
        let other = Offered::new(Magic::REGTEST, false).insert(&transaction(2));
        assert!(matches!(other, Inventory::Transaction(_)));
        offered.handle(&request(vec![held, other])).unwrap();
        assert_eq!((offered.served(), offered.pending.len()), (1, 2));
        let missing = message::frame(Magic::REGTEST, message::NOT_FOUND, &vec![other]);
        assert_eq!(offered.pending.back(), Some(&missing));
    }

    #[test]
    fn the_oldest_announcement_is_forgotten_beyond_the_capacity() {
        let mut offered = Offered::new(Magic::REGTEST, true);
        let first = offered.insert(&transaction(0));
        for n in 1..=CAPACITY as u32 {
            offered.insert(&transaction(n));
        }
        offered.handle(&request(vec![first])).unwrap();
        assert_eq!((offered.served(), offered.order.len()), (0, CAPACITY));
    }

    #[test]
    fn partial_writes_leave_the_rest_in_front() {
        let mut offered = Offered::new(Magic::REGTEST, true);
        offered.send(message::PING, &7u64);
        let whole = offered.front();
        offered.written(10);
        assert_eq!((offered.front(), offered.pending_bytes()), (whole.slice(10..), whole.len() - 10));
        offered.written(whole.len() - 10);
        assert_eq!((offered.front().len(), offered.pending_bytes()), (0, 0));
    }

    #[test]
    fn a_peer_that_asks_without_reading_is_refused() {
        let mut offered = Offered::new(Magic::REGTEST, true);
        let ping = Frame { command: message::PING, payload: Bytes::copy_from_slice(&[1; 8]) };
        let error = (0..).find_map(|_| offered.handle(&ping).err()).unwrap();
        assert!(
            matches!(error, ConnectionError::Flooded { pending_bytes } if pending_bytes <= MAX_PENDING_BYTES + 32)
        );
    }
}
