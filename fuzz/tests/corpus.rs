//! Replays the corpus, and every seed cut short and damaged, so that an ordinary test run has what fuzzing found.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use blvm_bus::message::TOPICS;
use blvm_fuzz::{
    Configured, Heard, Leased, Recorded, Seen, config, lease_page, manifest, message, peer, record,
    recording, request, ring, rpc, seeds, segment,
};
use blvm_node_adapter::rpc::Call;

/// What the committed corpus may take, all targets together.
const MAX_CORPUS_BYTES: u64 = 200_000;

/// Every file in a target's corpus: the committed seeds, and on a machine that fuzzes also what was found there.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = files.map(|file| file.expect("a folder entry").path()).filter(|path| path.is_file());
    let inputs: Vec<_> =
        paths.map(|path| (path.clone(), fs::read(&path).expect("a readable file"))).collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// Runs `target` on all inputs as they are, and on the seeds at every length and with every byte damaged.
fn replay(name: &str, target: impl Fn(&[u8])) {
    for (path, mut input) in corpus(name) {
        target(&input);
        if path.extension().is_none_or(|ending| ending != "seed") {
            continue;
        }
        for length in 0..input.len() {
            target(&input[..length]);
        }
        for index in 0..input.len() {
            for flip in [0x01, 0x80, 0xff] {
                input[index] ^= flip;
                target(&input);
                input[index] ^= flip;
            }
        }
    }
}

/// The seed `name` of `target`.
fn seed(target: &str, name: &str) -> Vec<u8> {
    let (_, seeds) = seeds::all().into_iter().find(|(found, _)| *found == target).expect("a target");
    let (_, seed) = seeds.into_iter().find(|(found, _)| *found == name).expect("a seed of that name");
    seed
}

/// What the seed `name` of the target `segment` makes visible.
fn seen(name: &str) -> Seen {
    segment(&seed("segment", name))
}

#[test]
fn no_segment_of_the_corpus_hurts_a_subscriber_even_cut_short_or_damaged() {
    replay("segment", |input| {
        segment(input);
    });
}

#[test]
fn no_frame_of_the_corpus_hurts_its_reader_even_cut_short_or_damaged() {
    replay("request", request);
}

#[test]
fn no_record_of_the_corpus_hurts_the_waker_even_cut_short_or_damaged() {
    replay("record", record);
}

#[test]
fn no_recording_of_the_corpus_hurts_its_reader_even_cut_short_or_damaged() {
    replay("recording", |input| {
        recording(input);
    });
    let recorded = |name| recording(&seed("recording", name));
    let file = Recorded { messages: 2, bodies: 1, missed: 7, is_whole: true };
    assert_eq!(recorded("file"), file);
    assert_eq!(recorded("file-of-nothing"), Recorded { is_whole: true, ..Recorded::default() });
    assert_eq!(recorded("records"), Recorded { missed: 3, is_whole: false, ..file });
    assert_eq!((recorded("a-reorganisation").bodies, recorded("how-things-stood").messages), (1, 2));
    assert_eq!(recorded("a-loss-of-everything").missed, u64::MAX);
    assert_eq!(recorded("a-body-where-there-is-none"), Recorded::default());
}

#[test]
fn no_lie_while_it_reads_hurts_a_subscriber() {
    replay("ring", |input| {
        ring(input);
    });
}

#[test]
fn no_archive_of_the_corpus_hurts_its_reader_even_cut_short_or_damaged() {
    replay("message", |input| {
        message(input);
    });
}

#[test]
fn no_lease_page_of_the_corpus_hurts_the_publisher_or_another_module() {
    replay("lease-page", |input| {
        lease_page(input);
    });
}

#[test]
fn no_peer_of_the_corpus_hurts_the_node_even_cut_short_or_damaged() {
    replay("peer", |input| {
        peer(input);
    });
}

#[test]
fn no_manifest_of_the_corpus_is_read_wrongly_even_cut_short_or_damaged() {
    replay("manifest", |input| {
        manifest(input);
    });
}

#[test]
fn no_configuration_of_the_corpus_is_read_wrongly_even_cut_short_or_damaged() {
    replay("config", |input| {
        config(input);
    });
}

#[test]
fn the_seeds_of_files_are_accepted_or_refused_as_their_names_say() {
    for (name, seed) in files("manifest") {
        assert_eq!(manifest(&seed), !name.starts_with("wrong"), "{name}");
    }
    let configured = |name| config(&seed("config", name));
    assert_eq!(configured("layers"), Configured { values: 4, is_changed: true });
    assert_eq!(configured("no-schema"), Configured { values: 7, is_changed: true });
    assert_eq!(configured("wrong-layer"), Configured::default());
    assert_eq!(configured("wrong-variable"), Configured::default());
}

/// The seeds of a target, by name.
fn files(target: &str) -> Vec<seeds::Seed> {
    seeds::all().into_iter().find(|(found, _)| *found == target).expect("a target").1
}

#[test]
fn no_body_of_the_corpus_hurts_the_json_rpc_server_even_cut_short_or_damaged() {
    replay("rpc", |input| {
        rpc(input);
    });
}

#[test]
fn the_seeds_of_json_rpc_get_to_calls_of_the_node_and_to_every_standard_error() {
    let asked = |name| rpc(&seed("rpc", name));
    let codes = |name| asked(name).codes;
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(asked("by-name").calls, [Call::LoadModule { name: "block-watch".to_owned() }]);
    let arguments = texts(&["pay", "-v"]);
    assert_eq!(asked("by-order").calls, [Call::RunModuleCli { module: "lightning".to_owned(), arguments }]);
    assert_eq!((asked("no-parameters").calls, codes("no-parameters")), (vec![Call::BusInfo], vec![0]));
    assert_eq!((codes("of-a-module"), codes("a-module-fails")), (vec![0], vec![-32027]));
    for (name, code) in [
        ("help", -32601),
        ("nearly-known", -32601),
        ("wrong-parameters", -32602),
        ("too-many-calls", -32010),
        ("empty-batch", -32600),
        ("cut-short", -32700),
        ("another-version", -32600),
        ("a-strange-id", -32600),
        ("deep", -32600),
    ] {
        assert_eq!((codes(name), asked(name).calls), (vec![code], vec![]), "{name}");
    }
    assert_eq!((asked("notification").calls, codes("notification")), (vec![Call::Stop], vec![]));
    assert_eq!((asked("batch").calls.len(), codes("batch")), (2, vec![0, -32600, -32601]));
}

#[test]
fn the_seeds_of_peers_get_through_the_handshake_to_answers_points_and_packets() {
    let heard = |name| peer(&seed("peer", name));
    for name in ["stream-verack-first", "stream-mainnet"] {
        assert_eq!(heard(name), Heard::default(), "{name}");
    }
    assert!(heard("stream-handshake").is_peer && heard("stream-cut").is_peer);
    // The version, three of the handshake, what packets it takes; then what was asked for.
    let greeting = heard("stream-handshake").answers;
    assert_eq!(heard("stream-ping").answers, greeting + 1);
    assert_eq!(heard("pings").answers, greeting + 2);
    let inventory = heard("inventory");
    assert!(inventory.messages == 3 && inventory.answers >= greeting + 4, "{inventory:?}");
    assert!(heard("headers").answers > greeting && heard("stop-hash").answers > greeting);
    assert_eq!(heard("transaction").transactions, 1);
    assert_eq!((heard("too-many-items").points, heard("malformed").points), (20, 20));
    assert_eq!(heard("malformed").messages, 1, "the connection ends");
    assert_eq!(heard("packets").packets, 2);
    let again = heard("handshake-again");
    assert_eq!((again.messages, again.points, again.answers), (3, 0, greeting), "ignored");
}

#[test]
fn the_seeds_of_lies_get_to_bodies_refusals_overruns_and_closed_topics() {
    let seen = |name| ring(&seed("ring", name));
    let chain = seen("chain");
    assert_eq!((chain.messages, chain.events, chain.bodies, chain.blocks), (5, 5, 5, 5), "{chain:?}");
    assert!(seen("chain-lapped").overruns >= 1);
    assert!(seen("mempool").events == 4 && seen("peers").events == 4 && seen("system").events == 8);
    assert!(seen("mempool-lapped-while-polling").overruns >= 2);
    assert_eq!(seen("the-second-look-differs").overruns, 1);
    assert_eq!(seen("not-there-at-the-first-look"), Seen { is_open: true, ..Seen::default() });
    let outside = seen("a-body-that-ends-outside");
    assert_eq!((outside.messages, outside.bodies), (1, 0), "{outside:?}");
    assert_eq!(seen("a-body-of-any-length").overruns, 1);
    assert_eq!(seen("the-body-was-reclaimed").bodies, 0);
    assert!(seen("next-sequence-at-the-end").overruns >= 1);
    assert_eq!(seen("closed-for-one-look").closed, 1);
    let changed = seen("slots-change-for-good");
    assert_eq!((changed.messages, changed.events), (2, 1), "{changed:?}");
}

#[test]
fn every_message_of_the_corpus_is_one_and_both_bodies_are_read() {
    let (_, seeds) = seeds::all().into_iter().find(|(target, _)| *target == "message").expect("a target");
    let mut kinds = BTreeSet::new();
    for (name, seed) in seeds {
        let seen = message(&seed);
        kinds.insert((u32::from(seed[0]), u16::from_le_bytes([seed[1], seed[2]])));
        match name {
            "block-body" => assert_eq!((seen.blocks, seen.transactions), (1, 2), "{seen:?}"),
            "reorganisation-body" => assert!(seen.reorganisations == 1, "{seen:?}"),
            _ => assert_eq!(seen.events, 1, "{name}"),
        }
    }
    let known = TOPICS.iter().flat_map(|topic| topic.kinds.iter().map(|(kind, _)| (topic.number, *kind)));
    let without: Vec<_> = known.filter(|kind| !kinds.contains(kind)).collect();
    assert!(without.is_empty(), "no seed of these (topic, kind): {without:?}");
}

#[test]
fn the_seeds_of_lease_pages_hold_bodies_and_make_the_publisher_look_as_often_as_it_may() {
    let seen = |name| -> Leased { lease_page(&seed("lease-page", name)) };
    assert!(seen("honest").leases >= 4, "{:?}", seen("honest"));
    assert!(seen("out-of-order").leases >= 6);
    assert!(seen("exits").leases >= 6, "{:?}", seen("exits"));
    assert!(seen("hoarder").blocks >= 9, "{:?}", seen("hoarder"));
    assert!(seen("extremes").lies > 0, "{:?}", seen("extremes"));
    let chase = seen("chase");
    // Six words, each loaded in the first look and after a raise or more.
    assert!(chase.most_loads >= 12, "{chase:?}");
}

#[test]
fn the_committed_seeds_are_what_the_generator_writes_and_small() {
    let mut corpus_bytes = 0;
    for (target, seeds) in seeds::all() {
        for (name, seed) in seeds {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
            let path = path.join(format!("{name}.seed"));
            assert!(
                fs::read(&path).ok().as_ref() == Some(&seed),
                "{} is out of date: cargo run --release -p blvm-fuzz --example write_seeds",
                path.display()
            );
        }
        let seeds = corpus(target).into_iter().filter(|(path, _)| path.extension().is_some());
        corpus_bytes += seeds.map(|(_, input)| input.len() as u64).sum::<u64>();
    }
    assert!(corpus_bytes <= MAX_CORPUS_BYTES, "the corpus takes {corpus_bytes} bytes");
}

#[test]
fn the_seeds_get_past_the_header_to_blocks_reorganisations_overruns_and_closed_topics() {
    let chain = seen("chain");
    // Other topics accept some of these bytes too: their counts are lower bounds.
    assert!(chain.is_open && chain.messages >= 4 && chain.events >= 4, "{chain:?}");
    assert!(chain.blocks >= 2 && chain.transactions >= 6 && chain.reorganisations >= 1, "{chain:?}");
    let bounded = seen("chain-with-one-lease");
    assert!(bounded.bodies >= 1 && bounded.refused_bodies >= 1, "{bounded:?}");
    let copied = seen("chain-without-leases");
    assert_eq!((copied.bodies, copied.refused_bodies), (0, 0));
    let copied = seen("bodies-are-copied");
    assert!(copied.blocks >= 2 && copied.bodies == 0, "{copied:?}");
    assert!(seen("a-copied-body-of-no-bytes").messages >= 1);
    assert!(seen("chain-lapped").overruns >= 1);
    assert!(seen("chain-closed").closed >= 1);
    assert!(seen("mempool").events >= 3);
    assert!(seen("mempool-body-reused").overruns >= 1);
    assert!(seen("peers").events >= 2);
    assert!(seen("system").events >= 4);
    assert!(seen("mining").events >= 2 && seen("mining").overruns >= 1);
    assert!(seen("mesh-packets").events >= 2 && seen("stratum-packets").events >= 2);
    assert!(seen("modules").events >= 1 && seen("payments").events >= 1);
    assert!(!seen("impossible-depth").is_open);
    assert!(seen("another-topic").is_open, "identity is checked apart");
}
