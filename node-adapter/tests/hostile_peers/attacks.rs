//! What hostile peers do. Each attack goes on until its time is over, and answers how often it was made.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{VarInt, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::p2p::{Magic, ServiceFlags};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid,
    Witness, Wtxid,
};

use crate::peer::{Peer, message};

pub struct Attack {
    pub name: &'static str,
    /// Rounds it must come to: where the node ends the connection, more than one.
    pub least_rounds: u64,
    pub run: fn(SocketAddr, Instant) -> u64,
}

/// What a peer says whose headers and blocks are wanted.
const FULL_NODE: ServiceFlags = ServiceFlags::NETWORK;

pub const ATTACKS: [Attack; 12] = [
    Attack { name: "garbage", least_rounds: 2, run: garbage },
    Attack { name: "wrong network", least_rounds: 2, run: wrong_network },
    Attack { name: "oversize", least_rounds: 2, run: oversize },
    Attack { name: "truncated", least_rounds: 2, run: truncated },
    Attack { name: "endless handshake", least_rounds: 2, run: endless_handshake },
    Attack { name: "slow", least_rounds: 1, run: slow },
    Attack { name: "asks and never reads", least_rounds: 1, run: never_reads },
    Attack { name: "inventory flood", least_rounds: 1, run: inventory_flood },
    Attack { name: "orphan flood", least_rounds: 1, run: orphan_flood },
    Attack { name: "invalid transactions", least_rounds: 2, run: invalid_transactions },
    Attack { name: "invalid headers", least_rounds: 2, run: invalid_headers },
    Attack { name: "invalid blocks", least_rounds: 2, run: invalid_blocks },
];

/// Sends bytes on new connections; the node must end each.
fn ended_by_node(address: SocketAddr, until: Instant, greets: bool, bytes: &[u8]) -> u64 {
    let mut rounds = 0;
    while Instant::now() < until {
        let mut peer = if greets { Peer::greet(address) } else { Peer::connect(address) };
        // The node may close before it has all.
        let _ = peer.stream.write_all(bytes);
        assert!(peer.is_closed_by_node(), "the node keeps the connection");
        rounds += 1;
    }
    rounds
}

fn garbage(address: SocketAddr, until: Instant) -> u64 {
    // From a fixed seed: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    ended_by_node(address, until, false, &bytes.take(100_000).collect::<Vec<_>>())
}

fn wrong_network(address: SocketAddr, until: Instant) -> u64 {
    let mut ping = message("ping", &[0; 8]);
    ping[..4].copy_from_slice(&Magic::BITCOIN.to_bytes());
    ended_by_node(address, until, true, &ping)
}

fn oversize(address: SocketAddr, until: Instant) -> u64 {
    let mut promise = message("block", &[]);
    promise[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    ended_by_node(address, until, true, &promise)
}

/// The end of the connection in the middle of a large message.
fn truncated(address: SocketAddr, until: Instant) -> u64 {
    let whole = message("tx", &vec![0; 3_000_000]);
    let mut rounds = 0;
    while Instant::now() < until {
        let mut peer = Peer::greet(address);
        let _ = peer.stream.write_all(&whole[..2_000_000]);
        let _ = peer.stream.shutdown(std::net::Shutdown::Write);
        assert!(peer.is_closed_by_node(), "the node keeps the connection");
        rounds += 1;
    }
    rounds
}

fn endless_handshake(address: SocketAddr, until: Instant) -> u64 {
    ended_by_node(address, until, false, &message("sendaddrv2", &[]).repeat(1_000))
}

/// Nearly all of the largest message, then a byte now and then.
fn slow(address: SocketAddr, until: Instant) -> u64 {
    let whole = message("block", &vec![0; 4_000_000]);
    let mut peer = Peer::greet(address);
    let (most, rest) = whole.split_at(3_990_000);
    peer.stream.write_all(most).unwrap();
    for byte in rest {
        if Instant::now() >= until {
            break;
        }
        peer.stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    1
}

/// Requests without end, whose answers are left unread.
fn never_reads(address: SocketAddr, until: Instant) -> u64 {
    let genesis = bitcoin::constants::genesis_block(Network::Regtest).block_hash();
    let headers = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
    let requests = [
        message("getdata", &serialize(&vec![Inventory::WitnessBlock(genesis); 1_000])),
        message("getheaders", &serialize(&headers)),
        message("ping", &[1; 8]).repeat(1_000),
    ]
    .concat();
    until_refused(address, until, &requests)
}

fn inventory_flood(address: SocketAddr, until: Instant) -> u64 {
    let items = (0..50_000u32).map(|n| {
        let mut hash = [0xab; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        Inventory::WTx(Wtxid::from_byte_array(hash))
    });
    until_refused(address, until, &message("inv", &serialize(&items.collect::<Vec<_>>())))
}

/// Transactions of 90,000 bytes whose parents nobody has.
fn orphan_flood(address: SocketAddr, until: Instant) -> u64 {
    let mut rounds = 0;
    while Instant::now() < until {
        let mut peer = Peer::greet(address);
        peer.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        for n in 0..1_000u32 {
            let txid = Txid::from_byte_array([n as u8; 32]);
            let input = TxIn { previous_output: OutPoint { txid, vout: n }, ..TxIn::default() };
            let output = TxOut { value: Amount::from_sat(1_000), script_pubkey: vec![0x6a; 90_000].into() };
            let orphan = Transaction {
                version: bitcoin::transaction::Version::TWO,
                lock_time: LockTime::ZERO,
                input: vec![input],
                output: vec![output],
            };
            // What the node asks for is left unread.
            if Instant::now() >= until || peer.stream.write_all(&message("tx", &serialize(&orphan))).is_err()
            {
                break;
            }
        }
        rounds += 1;
    }
    rounds
}

/// Sends the same bytes again and again, on a new connection when the node has closed the last.
fn until_refused(address: SocketAddr, until: Instant, bytes: &[u8]) -> u64 {
    let mut rounds = 0;
    while Instant::now() < until {
        let mut peer = Peer::greet(address);
        peer.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        rounds += 1;
        // A node that reads no more for now is what is wanted, and so is one that closes.
        while Instant::now() < until && peer.stream.write_all(bytes).is_ok() {}
        while Instant::now() < until && peer.stream.write_all(&message("ping", &[2; 8])).is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    rounds
}

/// A transaction without inputs, one that is none, and a count that promises far more than is there.
fn invalid_transactions(address: SocketAddr, until: Instant) -> u64 {
    let empty = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![],
        output: vec![],
    };
    let promise = [&2u32.to_le_bytes()[..], &serialize(&VarInt(u64::from(u32::MAX))), &[0; 100]].concat();
    let mut rounds = 0;
    for payload in [serialize(&empty), vec![0xff; 200], promise].iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let mut peer = Peer::greet(address);
        let _ = peer.stream.write_all(&message("tx", payload));
        assert!(peer.is_closed_by_node(), "the node keeps the connection");
        rounds += 1;
    }
    rounds
}

/// Headers whose target is not the network's, alone and as the header of a block that nobody asked for.
fn invalid_headers(address: SocketAddr, until: Instant) -> u64 {
    let mut rounds = 0;
    for command in ["headers", "block"].iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let mut block = bitcoin::constants::genesis_block(Network::Regtest);
        block.header.prev_blockhash = block.block_hash();
        block.header.time += 1 + rounds as u32;
        block.header.bits = CompactTarget::from_consensus(0x207f_fffe);
        grind(&mut block);
        let payload = match *command {
            "headers" => [&[1][..], &serialize(&block.header), &[0]].concat(),
            _ => serialize(&block),
        };
        let mut peer = Peer::greet_as(address, FULL_NODE);
        let _ = peer.stream.write_all(&message(command, &payload));
        assert!(
            peer.is_closed_by_node(),
            "the node keeps the connection after an invalid header in {command}"
        );
        rounds += 1;
    }
    rounds
}

/// A chain with more work than the node's, whose first block pays its miner too much.
fn invalid_blocks(address: SocketAddr, until: Instant) -> u64 {
    let mut rounds = 0;
    while Instant::now() < until {
        let mut peer = Peer::join_as(address, FULL_NODE);
        peer.stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        // No two attackers have the same chain.
        let chain = overpaying_chain(peer.stream.local_addr().unwrap().port().into());
        let mut headers = serialize(&VarInt(chain.len() as u64));
        for block in &chain {
            headers.extend(serialize(&block.header));
            headers.push(0);
        }
        let _ = peer.stream.write_all(&message("headers", &headers));
        while let Ok((command, _)) = peer.read_message() {
            if command == "getdata" {
                let blocks: Vec<u8> =
                    chain.iter().flat_map(|block| message("block", &serialize(block))).collect();
                let _ = peer.stream.write_all(&blocks);
                break;
            }
        }
        // The node may be at another attacker's chain, and not want this one.
        rounds += u64::from(peer.is_closed_by_node());
    }
    rounds
}

fn overpaying_chain(salt: u32) -> Vec<Block> {
    let genesis = bitcoin::constants::genesis_block(Network::Regtest);
    let mut chain: Vec<Block> = Vec::new();
    for height in 1..=40u8 {
        let mut block = genesis.clone();
        let previous = chain.last().unwrap_or(&genesis);
        // Version 1 of genesis is no longer taken (BIP-0034).
        block.header.version = bitcoin::block::Version::NO_SOFT_FORK_SIGNALLING;
        block.header.prev_blockhash = previous.block_hash();
        block.header.time = previous.header.time + 1 + if height == 1 { salt } else { 0 };
        let script_sig = bitcoin::script::Builder::new().push_int(height.into()).push_int(0).into_script();
        block.txdata = vec![Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { script_sig, witness: Witness::new(), ..TxIn::default() }],
            output: vec![TxOut { value: Amount::from_int_btc(1_000), script_pubkey: ScriptBuf::new() }],
        }];
        block.header.merkle_root = block.compute_merkle_root().expect("a block with a coinbase");
        grind(&mut block);
        chain.push(block);
    }
    chain
}

fn grind(block: &mut Block) {
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce = block.header.nonce.wrapping_add(1);
    }
}
