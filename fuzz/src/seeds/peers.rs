//! Seeds of the target `peer`: honest conversations, and what hostile peers say.

use bitcoin::consensus::encode::{VarInt, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::{BlockHash, Network, Transaction, TxIn, TxOut, Txid, Wtxid};

use super::Seed;
use crate::peer::{COMMANDS, handshake, message};

pub(super) fn seeds() -> Vec<Seed> {
    let genesis = bitcoin::constants::genesis_block(Network::Regtest);
    let hash = genesis.block_hash();
    let locator = |hashes| serialize(&GetHeadersMessage::new(hashes, BlockHash::all_zeros()));
    let items = vec![
        Inventory::WitnessBlock(hash),
        Inventory::Block(hash),
        Inventory::WTx(Wtxid::from_byte_array([1; 32])),
        Inventory::WitnessTransaction(Txid::from_byte_array([2; 32])),
        Inventory::Unknown { inv_type: 9, hash: [3; 32] },
    ];
    let items = serialize(&items);
    let headers = [&serialize(&VarInt(1))[..], &serialize(&genesis.header), &[0]].concat();
    let ping = 7u64.to_le_bytes();
    let transaction = serialize(&transaction());
    let raw = |stream: Vec<u8>| [vec![0], stream].concat();
    vec![
        ("stream-handshake", raw(handshake())),
        ("stream-ping", raw([handshake(), message("ping", &ping)].concat())),
        ("stream-cut", raw([handshake(), message("ping", &ping)[..30].to_vec()].concat())),
        ("stream-verack-first", raw(message("verack", &[]))),
        (
            "stream-mainnet",
            raw(vec![0xf9, 0xbe, 0xb4, 0xd9, b'v', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        ("pings", script(&[("ping", &ping), ("pong", &ping), ("whatever", b"x"), ("ping", &ping)])),
        ("inventory", script(&[("inv", &items), ("getdata", &items), ("notfound", &items)])),
        (
            "headers",
            script(&[("getheaders", &locator(vec![hash])), ("headers", &headers), ("sendheaders", b"")]),
        ),
        ("stop-hash", script(&[("getheaders", &serialize(&GetHeadersMessage::new(vec![], hash)))])),
        ("block", script(&[("block", &serialize(&genesis))])),
        ("transaction", script(&[("tx", &transaction)])),
        ("too-many-items", script(&[("inv", &serialize(&VarInt(50_001)))])),
        ("malformed", script(&[("ping", b"short"), ("ping", &ping)])),
        (
            "packets",
            script(&[("blvmpackets", &[1, 3, 0, 0, 4, 0]), ("blvmmesh", b"mesh"), ("blvmstrat", b"")]),
        ),
        ("handshake-again", script(&[("verack", b""), ("wtxidrelay", b""), ("version", &[0; 90])])),
    ]
}

/// Messages after a good handshake, as the target reads them.
fn script(messages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut script = vec![1];
    for (command, payload) in messages {
        let index = COMMANDS.iter().position(|known| known == command).expect("a known command");
        script.push(index as u8);
        script.extend((payload.len() as u16).to_le_bytes());
        script.extend_from_slice(payload);
    }
    script
}

fn transaction() -> Transaction {
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn::default()],
        output: vec![TxOut::NULL],
    }
}
