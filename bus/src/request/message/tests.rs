//! The archives as `docs/protocol.md` gives them, byte by byte: another language writes and reads them by that document.

use core::mem::offset_of;

use super::*;
use crate::request::chain::*;
use crate::request::encode;
use crate::request::hello::*;
use crate::request::mempool::MempoolRequest;
use crate::request::network::ArchivedNetworkPeer;
use crate::request::refusal::*;
use crate::request::watch::*;

/// Bytes written as hexadecimal digits; white space is for the reader.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.split_whitespace().collect();
    let digits = digits.concat();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = bytes(text);
    assert!(bytes.len() <= length);
    bytes.resize(length, 0);
    bytes
}

#[test]
fn roots_and_structs_have_the_documented_sizes() {
    assert_eq!((size_of::<ArchivedRequest>(), align_of::<ArchivedRequest>()), (36, 4));
    assert_eq!((size_of::<ArchivedReply>(), align_of::<ArchivedReply>()), (72, 8));
    assert_eq!((size_of::<ArchivedRefusal>(), align_of::<ArchivedRefusal>()), (24, 8));
    assert_eq!((size_of::<ArchivedTopicWish>(), size_of::<ArchivedTopicGrant>()), (16, 24));
    assert_eq!((size_of::<ArchivedTopicStart>(), size_of::<ArchivedHello>()), (16, 16));
    assert_eq!((size_of::<ArchivedWelcome>(), size_of::<ArchivedAttached>()), (68, 16));
    assert_eq!((size_of::<ArchivedBlock>(), size_of::<ArchivedChainPosition>()), (44, 36));
    let hello = [
        offset_of!(ArchivedHello, protocol_version),
        offset_of!(ArchivedHello, layout_version),
        offset_of!(ArchivedHello, topics),
    ];
    assert_eq!(hello, [0, 4, 8]);
    let welcome = [
        offset_of!(ArchivedWelcome, run_id),
        offset_of!(ArchivedWelcome, node_version),
        offset_of!(ArchivedWelcome, network),
        offset_of!(ArchivedWelcome, topics),
        offset_of!(ArchivedWelcome, leases),
        offset_of!(ArchivedWelcome, config),
        offset_of!(ArchivedWelcome, module),
        offset_of!(ArchivedWelcome, config_origins),
    ];
    assert_eq!(welcome, [0, 16, 24, 32, 40, 44, 52, 60]);
    let origin = [offset_of!(ArchivedConfigOrigin, origin), offset_of!(ArchivedConfigOrigin, variable)];
    assert_eq!((origin, size_of::<ArchivedConfigOrigin>()), ([8, 16], 28));
    assert_eq!((offset_of!(ArchivedAttached, loaded), size_of::<ArchivedLoadedModule>()), (8, 16));
    let block =
        [offset_of!(ArchivedBlock, hash), offset_of!(ArchivedBlock, height), offset_of!(ArchivedBlock, raw)];
    assert_eq!(block, [0, 32, 36]);
}

#[test]
fn fields_stand_in_the_order_of_the_document_whatever_their_alignment() {
    let peer = [
        offset_of!(ArchivedNetworkPeer, id),
        offset_of!(ArchivedNetworkPeer, address),
        offset_of!(ArchivedNetworkPeer, is_inbound),
        offset_of!(ArchivedNetworkPeer, protocol_version),
        offset_of!(ArchivedNetworkPeer, services),
        offset_of!(ArchivedNetworkPeer, user_agent),
        offset_of!(ArchivedNetworkPeer, start_height),
        offset_of!(ArchivedNetworkPeer, connected_s),
        offset_of!(ArchivedNetworkPeer, received_bytes),
        offset_of!(ArchivedNetworkPeer, sent_bytes),
        offset_of!(ArchivedNetworkPeer, best_height),
        offset_of!(ArchivedNetworkPeer, min_ping_us),
        offset_of!(ArchivedNetworkPeer, misbehaviour),
    ];
    assert_eq!(peer, [0, 8, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 96]);
    assert_eq!(size_of::<ArchivedNetworkPeer>(), 104);
    let utxo = [
        offset_of!(ArchivedUtxo, value_sat),
        offset_of!(ArchivedUtxo, script),
        offset_of!(ArchivedUtxo, height),
        offset_of!(ArchivedUtxo, is_coinbase),
    ];
    assert_eq!(utxo, [0, 8, 16, 20]);
    let header = [
        offset_of!(ArchivedBlockHeader, position),
        offset_of!(ArchivedBlockHeader, raw),
        offset_of!(ArchivedBlockHeader, is_active),
    ];
    assert_eq!((header, size_of::<ArchivedBlockHeader>()), ([0, 36, 116], 120));
}

#[test]
fn requests_are_the_documented_bytes() {
    let topics =
        vec![TopicWish { topic: 1, schema: 0x1122_3344_5566_7788 }, TopicWish { topic: 5, schema: 6 }];
    let hello = Request::Hello(Hello { protocol_version: 2, layout_version: 3, topics });
    let expected = bytes(
        "01000000 00000000 8877665544332211
         05000000 00000000 0600000000000000
         00 000000  02000000 03000000  d4ffffff 02000000  00000000 00000000 00000000 00000000",
    );
    assert_eq!(encode(&hello)[..], expected);
    // The example of the document.
    let topics = vec![TopicWish { topic: 1, schema: 0x1122_3344_5566_7788 }];
    let hello = Request::Hello(Hello { protocol_version: 5, layout_version: 2, topics });
    let expected = bytes(
        "01000000 00000000 8877665544332211
         00 000000 05000000 02000000
         e4ffffff 01000000
         00000000 00000000 00000000 00000000",
    );
    assert_eq!(encode(&hello)[..], expected);
    assert_eq!(encode(&Request::Mapped)[..], padded("01", 36));
    assert_eq!(encode(&Request::GetChainTip)[..], padded("02", 36));
    assert_eq!(
        encode(&Request::GetBlock { hash: [0x55; 32] })[..],
        padded(&format!("03 {}", "55".repeat(32)), 36)
    );
    assert_eq!(encode(&Request::GetBlockByHeight { height: 258 })[..], padded("04 000000 02010000", 36));
    // What the root points to stands before it.
    let chain = Request::Chain(Box::new(ChainRequest::GetUtxo { txid: [0x55; 32], vout: 258 }));
    let expected = format!("07 {} 000000 02010000 {}  09 000000 ccffffff", "55".repeat(32), "00".repeat(8));
    assert_eq!(encode(&chain)[..], padded(&expected, 48 + 36));
    let size = Request::Mempool(Box::new(MempoolRequest::GetSize));
    assert_eq!(encode(&size)[..], padded(&format!("01 {}  0a 000000 d8ffffff", "00".repeat(35)), 36 + 36));
    let next = Request::Watch(Box::new(WatchRequest::Next { limit: 7 }));
    assert_eq!(encode(&next)[..], padded("02 000000 07000000 00000000  0d 000000 f0ffffff", 12 + 36));
    let token = Token::new([0x77; 32]);
    let expected = padded(&format!("08 {}", "77".repeat(32)), 36);
    assert_eq!(encode(&Request::Authenticate { token })[..], expected);
}

#[test]
fn replies_are_the_documented_bytes() {
    let welcome = Welcome {
        run_id: [0x77; 16],
        node_version: "0.1.0".to_owned(),
        network: "a-network".to_owned(),
        topics: vec![TopicGrant { topic: 1, schema: 2, kinds: 4 }],
        leases: 3,
        config: String::new(),
        module: String::new(),
        config_origins: Vec::new(),
    };
    // The network has nine bytes and stands outside; the version has five and stands inside.
    let expected = format!(
        "612d6e6574776f726b 00000000000000
         01000000 00000000 0200000000000000 0400000000000000
         00 000000 {} 302e312e30 ffffff  89000000 bcffffff  c4ffffff 01000000  03 000000 ffffffffffffffff
         ffffffffffffffff c0ffffff 00000000",
        "77".repeat(16)
    );
    assert_eq!(encode(&Reply::Welcome(welcome))[..], padded(&expected, 40 + 72));
    let starts = vec![TopicStart { topic: 1, sequence: 9 }];
    let loaded = vec![LoadedModule { name: "mesh".to_owned(), version: "1.2.3".to_owned() }];
    let expected = "01000000 00000000 0900000000000000  6d657368 ffffffff 312e322e33 ffffff
         01 000000 dcffffff 01000000  e4ffffff 01000000";
    let attached = Attached { starts, loaded };
    assert_eq!(encode(&Reply::Attached(attached))[..], padded(expected, 32 + 72));
    let tip = ChainPosition { hash: [0x11; 32], height: 7 };
    let expected = format!("02 000000 {} 07000000", "11".repeat(32));
    assert_eq!(encode(&Reply::ChainTip(tip))[..], padded(&expected, 72));
    assert_eq!(encode(&Reply::Block(None))[..], padded("03", 72));
    let block = Block { hash: [0x11; 32], height: 7, raw: vec![0xaa, 0xbb, 0xcc, 0xdd] };
    let expected =
        format!("aabbccdd 00000000  03 000000 01 000000 {} 07000000 ccffffff 04000000", "11".repeat(32));
    assert_eq!(encode(&Reply::Block(Some(block)))[..], padded(&expected, 8 + 72));
    let height = Reply::Chain(Box::new(ChainReply::BlockHeight(258)));
    let archive = encode(&height);
    assert_eq!(archive.len(), size_of::<ArchivedChainReply>() + 72);
    assert_eq!(archive[..8], bytes("03 000000 02010000")[..]);
    assert_eq!(encode(&Reply::Authenticated)[..], padded("08", 72));
    let token = Reply::Refused(Refusal::Token { tries_left: 2 });
    assert_eq!(encode(&token)[..], padded("07 00000000000000  0d 000000 02000000", 72));
}

#[test]
fn refusals_have_the_documented_numbers() {
    let refusals = [
        Refusal::Denied { permission: String::new() },
        Refusal::Version { node_protocol: 0, module_protocol: 0, node_layout: 0, module_layout: 0 },
        Refusal::Schema { topic: 0, node: 0, module: 0 },
        Refusal::UnknownTopic { topic: 0 },
        Refusal::OutOfTurn { request: String::new(), state: String::new() },
        Refusal::Malformed { reason: String::new() },
        Refusal::TooLarge { found_bytes: 0, limit_bytes: 0 },
        Refusal::LeasePage { reason: String::new() },
        Refusal::Transaction { rule: TransactionRefusal::Invalid, message: String::new() },
        Refusal::AnswersHeld { limit: 0 },
        Refusal::Deadline { deadline_ms: 0 },
        Refusal::Node { reason: String::new() },
        Refusal::Unnamed { topic: String::new() },
        Refusal::Token { tries_left: 0 },
        Refusal::TooManyPeers { limit: 0 },
        Refusal::Unsupported { request: String::new(), node_source: String::new() },
        Refusal::Limit { what: String::new(), limit: 0 },
        Refusal::Rate { per_second: 0, retry_after_ms: 0 },
        Refusal::UnknownPosition { height: 0 },
        Refusal::PackageShape { message: String::new() },
        Refusal::PackageTransaction { index: 0, rule: TransactionRefusal::Invalid, message: String::new() },
        Refusal::Mining { rule: MiningRefusal::LowWork, message: String::new(), wtxids: Vec::new() },
        Refusal::Network { rule: NetworkRefusal::Busy, message: String::new() },
        Refusal::Module { rule: ModuleRefusal::Busy, message: String::new() },
        Refusal::Quota { unit: QuotaUnit::Bytes, per_second: 0, retry_after_ms: 0 },
        Refusal::Metric { message: String::new() },
    ];
    for (number, refusal) in refusals.into_iter().enumerate() {
        // Also where a node gives no words of its own.
        assert!(!refusal.to_string().is_empty(), "{refusal:?}");
        let archive = encode(&Reply::Refused(refusal));
        assert_eq!((archive[0], usize::from(archive[8])), (7, number));
    }
}
