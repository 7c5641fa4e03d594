//! `docs/permissions.md` names every permission, and for each the requests that it opens, as the code has them.
//!
//! After a change: `BLVM_WRITE_DOCS=1 cargo test --release -p blvm-bus --test permissions_document`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use blvm_bus::message::payments::NAMES;
use blvm_bus::request::{
    ChainRequest, Denylist, FrameError, Hello, MempoolRequest, MetricsRequest, MiningRequest, ModulesRequest,
    NetworkRequest, Permission, Request, WatchRequest, decode,
};

const BEGIN: &str = "<!-- written by bus/tests/permissions_document.rs -->\n";
const END: &str = "<!-- end -->\n";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/permissions.md")
}

/// What may stand before the root, for empty lists to point to.
const BEFORE: usize = 64;

/// Archives of a type as long as `length` whose first byte is `number`: zeros, with pointers of empty lists at up to two
/// places, wherever they may be.
fn candidates(number: u8, length: usize) -> impl Iterator<Item = Vec<u8>> {
    let places = move || (0..=length / 4).map(|place| place * 4);
    places().flat_map(move |first| {
        places().map(move |second| {
            let mut archive = vec![0; BEFORE + length];
            archive[BEFORE] = number;
            // Place 0 is that of the number: there is none.
            for place in [first, second].into_iter().filter(|place| (4..length).contains(place)) {
                let distance = -(place as i32 + BEFORE as i32 / 2);
                archive[BEFORE + place..][..4].copy_from_slice(&distance.to_le_bytes());
            }
            archive
        })
    })
}

/// One of each variant of an area, whatever its fields: zeros are a value of every type but lists.
macro_rules! one_of_each {
    ($area:ident, $type:ty) => {{
        let mut found = Vec::new();
        let length = size_of::<<$type as rkyv::Archive>::Archived>();
        for number in 0..=u8::MAX {
            let mut decoded = candidates(number, length).map(|archive| decode(&archive));
            let request: Option<Result<$type, FrameError>> = decoded.find(Result::is_ok);
            match request {
                Some(Ok(request)) => found.push(Request::$area(Box::new(request))),
                _ => break,
            }
        }
        found
    }};
}

fn requests() -> Vec<Request> {
    let hello = Hello { protocol_version: 0, layout_version: 0, topics: Vec::new() };
    let mut requests = vec![
        Request::Hello(hello),
        Request::GetChainTip,
        Request::GetBlock { hash: [0; 32] },
        Request::GetBlockByHeight { height: 0 },
        Request::GetMempoolTransactions,
        Request::SubmitMempoolTransaction { raw: Vec::new() },
        Request::GetNodeStatus { with_utxo_digest: false },
    ];
    requests.extend(one_of_each!(Chain, ChainRequest));
    requests.extend(one_of_each!(Mempool, MempoolRequest));
    requests.extend(one_of_each!(Mining, MiningRequest));
    requests.extend(one_of_each!(Network, NetworkRequest));
    let list = Denylist::Transactions;
    // The zeros above name the other list.
    for request in [
        NetworkRequest::MergeServeDenylist { list, hashes: Vec::new() },
        NetworkRequest::ReplaceServeDenylist { list, hashes: Vec::new() },
        NetworkRequest::ClearServeDenylist { list },
        NetworkRequest::SnapshotServeDenylist { list },
    ] {
        requests.push(Request::Network(Box::new(request)));
    }
    requests.extend(one_of_each!(Watch, WatchRequest));
    requests.extend(one_of_each!(Modules, ModulesRequest));
    requests.extend(one_of_each!(Metrics, MetricsRequest));
    requests
}

fn written() -> String {
    let mut opened: BTreeMap<Permission, Vec<&str>> = BTreeMap::new();
    let requests = requests();
    for request in &requests {
        if let Some(permission) = request.needed_permission() {
            let names = opened.entry(permission).or_default();
            if !names.contains(&request.name()) {
                names.push(request.name());
            }
        }
    }
    let mut text = "| permission | requests |\n|---|---|\n".to_owned();
    for permission in Permission::ALL {
        if let Some(names) = opened.get(&permission) {
            writeln!(text, "| `{}` | `{}` |", permission.name(), names.join("`, `")).unwrap();
        }
    }
    text
}

#[test]
fn every_permission_is_in_the_document_with_every_request_it_opens() {
    let document = std::fs::read_to_string(path()).unwrap();
    let start = document.find(BEGIN).unwrap() + BEGIN.len();
    let end = start + document[start..].find(END).unwrap();
    let rows = document[..start].lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let named: Vec<_> = rows.map(|(name, _)| name).collect();
    let mut expected: Vec<_> = Permission::ALL.map(Permission::name).to_vec();
    expected.push("publish:NAME");
    assert_eq!(named, expected);
    for name in NAMES {
        assert!(document.contains(&format!("`publish:{name}`")), "{name}");
    }
    let written = written();
    // The last of each area: the macro found all of them.
    for last in [
        "get_block_body",
        "get_transactions_by_wtxid",
        "repeat_tip_and_template",
        "get_module_health",
        "get_all_metrics",
    ] {
        assert!(written.contains(last), "{last} is missing:\n{written}");
    }
    assert!(written.contains("set_block_serve_maintenance_mode") && written.contains("watch_next"));
    if std::env::var_os("BLVM_WRITE_DOCS").is_some() {
        std::fs::write(path(), format!("{}{written}{}", &document[..start], &document[end..])).unwrap();
    } else {
        assert!(document[start..end] == written, "out of date: see the head of this test");
    }
}
