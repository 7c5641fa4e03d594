//! Is `docs/messages.md` true? Its tables are written from the types; its reader, which knows nothing but the document, must
//! find in every message what the types say. `BLVM_UPDATE=1` writes the tables anew.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::offset_of;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use blvm_bus::Scratch;
use blvm_bus::layout::Geometry;
use blvm_bus::message::chain::{
    ArchivedBlockBody, ArchivedBlockTransaction, ArchivedReorganisationBody, BlockBody, BlockConnected,
    BlockTransaction, ReorganisationBody, WriteBody,
};
use blvm_bus::message::mempool::{FeeEstimatesChanged, TransactionAdded};
use blvm_bus::message::mining::{BlockMined, FeeDelta, TemplateUpdated, TipChanged};
use blvm_bus::message::modules::ModuleEvent;
use blvm_bus::message::peers::PeerConnected;
use blvm_bus::message::system::ModuleStopped;
use blvm_bus::message::{BodyAccess, FieldLayout, Kind, TOPICS, Topic, Value};

const GENERATED: &str = "<!-- What follows is written by bus/tests/messages_document.rs -->\n";

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// The document; its tables written anew before any test reads it, if that is wanted.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let document = std::fs::read_to_string(path("messages.md")).unwrap();
    if std::env::var_os("BLVM_UPDATE").is_none() {
        return document;
    }
    let (text, _) = document.split_once(GENERATED).expect("a line that says what follows");
    let document = format!("{text}{GENERATED}{}", generated());
    std::fs::write(path("messages.md"), &document).unwrap();
    document
});

/// The text of a documentation comment as Markdown outside Rust.
fn text(document: &str) -> String {
    document.split_whitespace().collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

fn generated() -> String {
    let mut page = String::from("\n## Topics\n\n| topic | number | schema id |\n|---|---|---|\n");
    for topic in TOPICS {
        writeln!(page, "| `{}` | {} | `{:#018x}` |", topic.name, topic.number, topic.schema).unwrap();
    }
    for topic in TOPICS {
        write!(page, "\n## Topic `{}`\n", topic.name).unwrap();
        for kind in topic.layouts {
            write!(
                page,
                "\n### `{}` {}: `{}`\n\n{}\n\nRoot: {} bytes, at a multiple of {}.\n\n",
                topic.name,
                kind.number,
                kind.name,
                text(kind.document),
                kind.bytes,
                kind.align_bytes
            )
            .unwrap();
            table(&mut page, kind.fields);
        }
    }
    page.push_str("\n## Bodies of `chain`\n");
    for (name, of, bytes, fields) in bodies() {
        write!(page, "\n### `{name}`\n\n{of}: {bytes} bytes.\n\n").unwrap();
        table(&mut page, &fields);
    }
    page
}

fn table(page: &mut String, fields: &[FieldLayout]) {
    page.push_str("| offset | width | type | field | meaning |\n|---|---|---|---|---|\n");
    for FieldLayout { name, type_name, document, offset_bytes, bytes } in fields {
        let meaning = text(document);
        writeln!(page, "| {offset_bytes} | {bytes} | `{type_name}` | `{name}` | {meaning} |").unwrap();
    }
}

/// The types of bodies are not of the macro that knows its fields: here are theirs, of the types that are compiled.
fn bodies() -> [(&'static str, &'static str, usize, Vec<FieldLayout>); 3] {
    macro_rules! fields {
        ($archived:ty; $( $field:ident: $type_name:literal, $bytes:expr, $document:literal; )*) => {
            vec![$( FieldLayout {
                name: stringify!($field),
                type_name: $type_name,
                document: $document,
                offset_bytes: offset_of!($archived, $field),
                bytes: $bytes,
            } ),*]
        };
    }
    let block = fields! {
        ArchivedBlockBody<'static>;
        transactions: "Vec<BlockTransaction>", 8, "One entry per transaction, in block order.";
        raw: "Vec<u8>", 8, "The block in consensus encoding.";
    };
    let transaction = fields! {
        ArchivedBlockTransaction;
        txid: "Hash", 32, "Transaction id.";
        wtxid: "Hash", 32, "Witness transaction id; all zero for the coinbase (BIP-0141).";
        fee_sat: "u64", 8, "Inputs minus outputs in satoshi; 0 for the coinbase, 2⁶⁴ − 1 if not known.";
        offset_bytes: "u32", 4, "Where it starts in the raw block.";
        length_bytes: "u32", 4, "Its length in the raw block, witness included.";
        weight: "u32", 4, "Weight in weight units (BIP-0141).";
        reserved: "u32", 4, "Always 0.";
    };
    let lists = fields! {
        ArchivedReorganisationBody<'static>;
        disconnected: "Vec<Hash>", 8, "Blocks that left, highest first.";
        connected: "Vec<Hash>", 8, "Blocks that joined, lowest first.";
    };
    let bodies = [
        ("BlockBody", "Body of `BlockConnected`", size_of::<ArchivedBlockBody<'_>>(), block),
        ("BlockTransaction", "Entry of `BlockBody`", size_of::<ArchivedBlockTransaction>(), transaction),
        (
            "ReorganisationBody",
            "Body of `ChainReorganised`",
            size_of::<ArchivedReorganisationBody<'_>>(),
            lists,
        ),
    ];
    for (name, _, bytes, fields) in &bodies {
        let mut end = 0;
        for field in fields {
            assert_eq!(field.offset_bytes, end, "{name}.{}", field.name);
            end += field.bytes;
        }
        assert_eq!(end, *bytes, "{name}");
    }
    bodies
}

#[test]
fn the_tables_are_those_of_the_types() {
    let (_, tables) = DOCUMENT.split_once(GENERATED).expect("a line that says what follows");
    let generated = generated();
    let difference = tables.lines().zip(generated.lines()).find(|(found, expected)| found != expected);
    assert!(
        tables == generated,
        "docs/messages.md is out of date at {difference:?}: \
         BLVM_UPDATE=1 cargo test --release -p blvm-bus --test messages_document"
    );
}

#[test]
fn the_table_of_segments_is_that_of_the_types() {
    let document = std::fs::read_to_string(path("segment-layout.md")).unwrap();
    for topic in TOPICS {
        let Geometry { depth, slot_bytes, terms, term_bytes } = topic.geometry;
        let area = match topic.bodies {
            BodyAccess::None => "none".to_owned(),
            BodyAccess::Leased => format!("{terms} × {} MiB, leased", term_bytes >> 20),
            BodyAccess::Copied => format!("{terms} × {} MiB, copied", term_bytes >> 20),
        };
        let slots = format!("{} × {} B", grouped(depth as usize), grouped(slot_bytes as usize));
        let bytes = grouped(topic.geometry.layout().unwrap().segment_bytes);
        let row = format!("| `{}` | {} | {slots} | {area} | {bytes} |", topic.name, topic.number);
        assert!(document.contains(&row), "docs/segment-layout.md lacks {row}");
    }
}

/// Digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// A message as the document's reader is to find it: one line, `kind name=value …`.
fn line<K: Kind>(message: &K) -> (String, String) {
    let mut archive = Scratch::new();
    message.archive_into(&mut archive);
    let mut line = String::new();
    let kind = K::Topic::visit(K::NUMBER, &archive, &mut |name, value| {
        let value = match value {
            Value::Hash(hash) => hex(hash),
            Value::Hashes(hashes) => hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>().join(","),
            Value::Numbers(numbers) => {
                numbers.iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
            }
            Value::Bool(is_true) => u8::from(is_true).to_string(),
            other => other.to_string(),
        };
        write!(line, " {name}={value}").unwrap();
    });
    let input = format!("{} {} {}", K::Topic::NAME, K::NUMBER, hex(&archive));
    (input, format!("{}{line}", kind.unwrap()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cases() -> Vec<(String, String)> {
    let template = TemplateUpdated {
        template_id: u64::MAX - 1,
        previous: [0xa1; 32],
        height: 2,
        version: 0x2000_0000,
        bits: 4,
        min_time: 5,
        coinbase_value_sat: 6,
        fees_sat: 7,
        weight: 8,
        transactions: 9,
        coinbase_weight_limit: 10,
        coinbase_output_bytes_limit: 11,
        coinbase_sigop_cost_limit: 12,
        coinbase_version: 13,
        coinbase_sequence: u32::MAX,
        coinbase_lock_time: 15,
        is_empty: true,
        coinbase_prefix: vec![1, 2, 3],
        witness_commitment: Vec::new(),
        merkle_path: vec![[1; 32], [2; 32], [3; 32]],
    };
    let tip = |next_bits| TipChanged {
        hash: std::array::from_fn(|i| i as u8),
        previous: [2; 32],
        height: 800_000,
        header: [7; 80],
        next_bits,
        next_min_time: 1_700_000_001,
    };
    let mut cases = vec![
        line(&template),
        line(&tip(Some(0x207f_ffff))),
        line(&tip(None)),
        line(&FeeDelta { template_id: 1, announced_fees_sat: 2, fees_sat: 3 }),
        line(&BlockMined { hash: [1; 32], height: 2, template_id: Some(u64::MAX) }),
        line(&BlockMined { hash: [1; 32], height: 2, template_id: None }),
        line(&FeeEstimatesChanged { target_blocks: vec![], sat_per_kvb: vec![] }),
        line(&FeeEstimatesChanged { target_blocks: vec![2, 6, 144], sat_per_kvb: vec![9, u64::MAX, 7] }),
        line(&TransactionAdded { txid: [1; 32], wtxid: [2; 32], fee_sat: 3, weight: 4, raw: vec![5; 301] }),
        line(&PeerConnected {
            id: 1,
            address: "[2001:db8::7]:8333".to_owned(),
            is_inbound: true,
            protocol_version: 70_016,
            services: 9,
            user_agent: "/x/".to_owned(),
            start_height: -1,
        }),
    ];
    // Around the longest text that stands in the root, and around the bits that tell long ones.
    for length in [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 255, 256, 300] {
        let event = ModuleEvent {
            publisher: "p".repeat(length),
            name: "é".repeat(length / 2),
            payload: vec![1; length],
        };
        cases.push(line(&event));
    }
    let connected =
        BlockConnected { hash: [1; 32], previous: [2; 32], height: 3, transactions: 2, raw_bytes: 5 };
    cases.push(line(&connected));
    cases
}

/// Bodies, as the reader is to find them: lists of entries are flattened.
fn body_cases() -> Vec<(String, String)> {
    let written = |body: &dyn Fn(&mut [u8]) -> usize| {
        let mut bytes = rkyv::util::AlignedVec::<64>::new();
        bytes.resize(4096, 0);
        let length = body(&mut bytes);
        hex(&bytes[..length])
    };
    let entry = |i: u8| BlockTransaction {
        txid: [i; 32],
        wtxid: [i + 1; 32],
        fee_sat: u64::MAX - u64::from(i),
        offset_bytes: u32::from(i),
        length_bytes: 2,
        weight: 8,
        reserved: 0,
    };
    let transactions = [entry(1), entry(2)];
    let block = BlockBody { transactions: &transactions, raw: &[9; 301] };
    let lists = ReorganisationBody { disconnected: &[[1; 32]], connected: &[[2; 32], [3; 32]] };
    let entries: Vec<_> = [1_u8, 2]
        .map(|i| {
            let (txid, wtxid, fee) = (hex(&[i; 32]), hex(&[i + 1; 32]), u64::MAX - u64::from(i));
            format!(
                "txid={txid};wtxid={wtxid};fee_sat={fee};offset_bytes={i};length_bytes=2;weight=8;reserved=0"
            )
        })
        .to_vec();
    vec![
        (
            format!("body BlockBody {}", written(&|target| block.write(target).unwrap())),
            format!("BlockBody transactions={} raw={}", entries.join(","), hex(&[9; 301])),
        ),
        (
            format!("body ReorganisationBody {}", written(&|target| lists.write(target).unwrap())),
            format!(
                "ReorganisationBody disconnected={} connected={},{}",
                hex(&[1; 32]),
                hex(&[2; 32]),
                hex(&[3; 32])
            ),
        ),
    ]
}

#[test]
fn the_reader_in_the_document_reads_every_message_by_its_tables() {
    let program = DOCUMENT.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let directory = std::env::temp_dir().join(format!("blvm-messages-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("reader.py");
    std::fs::write(&file, program).unwrap();
    let reader = Command::new("python3")
        .args([file.as_os_str(), path("messages.md").as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut reader) = reader else {
        eprintln!("skipped: no python3");
        return;
    };
    let mut cases = cases();
    cases.extend(body_cases());
    let mut input = reader.stdin.take().unwrap();
    for (line, _) in &cases {
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    let output = reader.wait_with_output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let found: Vec<_> = str::from_utf8(&output.stdout).unwrap().lines().collect();
    let expected: Vec<_> = cases.iter().map(|(_, expected)| expected.as_str()).collect();
    assert_eq!(found, expected);
    assert!(output.status.success());
}

#[test]
fn the_example_in_the_document_is_what_is_archived() {
    let message = ModuleStopped { name: "block-watch".to_owned(), pid: 77, status: -9 };
    let mut archive = Scratch::new();
    message.archive_into(&mut archive);
    let rows: String = archive
        .chunks(16)
        .enumerate()
        .map(|(row, bytes)| {
            let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:2}  {}\n", 16 * row, bytes.join(" "))
        })
        .collect();
    assert!(DOCUMENT.contains(&rows), "docs/messages.md lacks\n{rows}");
}
