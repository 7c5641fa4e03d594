//! What a source uses of the node, and which permission each use needs.
//!
//! | in the source | needs |
//! |---|---|
//! | `with::<Chain>`, `feed::<Chain>`, `with_kind::<BlockConnected>`, `#[on(BlockConnected)]` | the permission of the topic |
//! | `ChainFollower::…`, `MempoolView::…` | that of their topic |
//! | a method of `Client` | what its documentation says it needs |
//! | `publish_event("Name", …)` | `publish:Name`, or `publish_events` where it is not about payments |
//! | `#[rpc]`, `#[command]` | `register_rpc_endpoint` |

use std::collections::BTreeSet;

use blvm_bus::message::payments::NAMES as PAYMENT_EVENTS;
use blvm_bus::message::{KnownTopic, TOPICS};
use blvm_bus::request::Permission;

use super::tokens::{Token, Word, tokens};

/// The SDK's own source, which says of each request what it needs.
const CLIENT: [&str; 6] = [
    include_str!("../../../src/client/chain.rs"),
    include_str!("../../../src/client/mempool.rs"),
    include_str!("../../../src/client/mining.rs"),
    include_str!("../../../src/client/modules.rs"),
    include_str!("../../../src/client/network.rs"),
    include_str!("../../../src/client/watch.rs"),
];

/// Methods of `Client` whose names others have too: they count only where a client stands before them.
const COMMON: [&str; 6] = ["block", "transaction", "utxo", "bans", "block_height", "block_header"];

/// One use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    /// Line, from 1.
    pub(super) line: usize,
    /// What is used, for people.
    pub(super) what: String,
    /// Any of these is enough, by the names that manifests have.
    pub(super) any_of: Vec<String>,
}

/// What opens a topic.
pub(super) fn topic_permission(topic: &KnownTopic) -> Option<Permission> {
    Some(match topic.name {
        "chain" => Permission::ReadBlockchain,
        "mempool" => Permission::ReadMempool,
        "peers" => Permission::ReadNetwork,
        "system" | "modules" => Permission::SubscribeEvents,
        "mining" => Permission::MiningTemplate,
        "mesh_packets" | "stratum_packets" => Permission::NetworkAccess,
        "payments" => Permission::ReadPayment,
        _ => return None,
    })
}

/// Methods of `Client` with what they need, from their documentation.
fn methods() -> Vec<(&'static str, Permission)> {
    let mut methods = Vec::new();
    for source in CLIENT {
        let mut document = String::new();
        for line in source.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("///") {
                document.push_str(text);
            } else if let Some(signature) = line.strip_prefix("pub fn ") {
                let name = signature.split(['(', '<']).next().unwrap_or_default();
                let needed = document.split_once("Needs `").and_then(|(_, rest)| rest.split('`').next());
                let needed = needed
                    .and_then(|needed| Permission::ALL.into_iter().find(|known| known.name() == needed));
                methods.extend(needed.map(|needed| (name, needed)));
                document.clear();
            } else if !line.starts_with('#') {
                document.clear();
            }
        }
    }
    methods
}

/// Names of the permissions whose use a source shows.
pub(super) fn shown() -> BTreeSet<&'static str> {
    let topics = TOPICS.iter().filter_map(topic_permission);
    let requests = methods().into_iter().map(|(_, permission)| permission);
    topics.chain(requests).map(Permission::name).collect()
}

/// `mesh_packets` as its type is called.
fn type_name(topic: &KnownTopic) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    topic.name.split('_').map(capital).collect()
}

/// Everything that is used.
pub(super) fn uses(source: &str) -> Vec<Use> {
    let tokens = tokens(source);
    let methods = methods();
    let mut uses: Vec<Use> = (0..tokens.len()).filter_map(|at| use_at(&tokens, at, &methods)).collect();
    uses.dedup();
    uses
}

fn use_at(tokens: &[Token<'_>], at: usize, methods: &[(&str, Permission)]) -> Option<Use> {
    let Word::Name(name) = tokens[at].word else { return None };
    let is_sign = |place: usize, sign| tokens.get(place).is_some_and(|token| token.word == Word::Sign(sign));
    let before = |distance: usize, sign| at.checked_sub(distance).is_some_and(|place| is_sign(place, sign));
    let is_path = is_sign(at + 1, ':') && is_sign(at + 2, ':');
    let is_turbofish = is_path && is_sign(at + 3, '<');
    let is_attribute = before(1, '[') && before(2, '#');
    let is_method = before(1, '.') && is_sign(at + 1, '(');
    let used = |what: String, permission: Permission| {
        Some(Use { line: tokens[at].line, what, any_of: vec![permission.name().to_owned()] })
    };
    let topic = |topic: &KnownTopic| {
        topic_permission(topic).and_then(|permission| used(format!("topic {}", topic.name), permission))
    };
    match name {
        "with" | "with_all_kinds" | "with_kinds" | "feed" | "on_missed" if is_turbofish => {
            let path = path(tokens, at + 4);
            let last = path.last()?;
            TOPICS.iter().find(|topic| type_name(topic) == *last).and_then(topic)
        }
        "with_kind" | "on" | "on_concurrently" if is_turbofish => topic(of_kind(&path(tokens, at + 4))?),
        "on" if is_attribute && is_sign(at + 1, '(') => topic(of_kind(&path(tokens, at + 2))?),
        "rpc" | "command" if is_attribute => used(format!("#[{name}]"), Permission::RegisterRpcEndpoint),
        "ChainFollower" if is_path => used(name.to_owned(), Permission::ReadBlockchain),
        "MempoolView" if is_path => used(name.to_owned(), Permission::ReadMempool),
        "publish_event" if is_method => match tokens.get(at + 2).map(|token| token.word) {
            Some(Word::Text(event)) => Some(publishes(tokens[at].line, event)),
            _ => None,
        },
        _ if is_method => {
            let (_, permission) = methods.iter().find(|(method, _)| *method == name)?;
            let is_certain = !COMMON.contains(&name) || stands_before(tokens, at, "client");
            is_certain.then(|| used(format!("the request {name}"), *permission))?
        }
        _ => None,
    }
}

/// The names of a path, `a::b::C`, that begins at a token.
fn path<'s>(tokens: &[Token<'s>], from: usize) -> Vec<&'s str> {
    let rest = tokens.get(from..).unwrap_or_default();
    let part = |token: &Token<'s>| match token.word {
        Word::Name(name) => Some(Some(name)),
        Word::Sign(':') => Some(None),
        _ => None,
    };
    rest.iter().map_while(part).flatten().collect()
}

/// The topic of a kind; of two topics with such a kind the one that the path names.
fn of_kind(path: &[&str]) -> Option<&'static KnownTopic> {
    let kind = path.last()?;
    let mut topics = TOPICS.iter().filter(|topic| topic.kind_number(kind).is_some());
    let first = topics.next()?;
    let is_named = |topic: &&KnownTopic| path.contains(&topic.name);
    Some([first].into_iter().chain(topics).find(is_named).unwrap_or(first))
}

/// An event that is published.
fn publishes(line: usize, event: &str) -> Use {
    let own = format!("publish:{event}");
    let is_payment = PAYMENT_EVENTS.contains(&event);
    let general = (!is_payment).then(|| Permission::PublishEvents.name().to_owned());
    Use { line, what: format!("the event {event}"), any_of: [own].into_iter().chain(general).collect() }
}

/// Whether `name` or `name()` is what the method at a token is called on.
fn stands_before(tokens: &[Token<'_>], at: usize, name: &str) -> bool {
    let before = tokens.get(at.saturating_sub(4)..at).unwrap_or_default();
    before.iter().any(|token| token.word == Word::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(source: &str) -> Vec<String> {
        uses(source).into_iter().flat_map(|found| found.any_of).collect()
    }

    #[test]
    fn each_way_to_use_the_node_is_found_where_it_stands() {
        for (source, needed) in [
            ("Topics::new().with::<Chain>()", "read_blockchain"),
            ("session.feed::<blvm_sdk::Mempool>()?", "read_mempool"),
            ("topics.with_kind::<BlockConnected>()", "read_blockchain"),
            ("#[on(TransactionAdded, concurrent)] async fn", "read_mempool"),
            ("#[on(stratum_packets::PacketReceived)]", "network_access"),
            ("ChainFollower::from_tip(&mut session)", "read_blockchain"),
            ("MempoolView::new(&mut session)", "read_mempool"),
            ("session.client().block(hash)?", "read_blockchain"),
            ("client.fee_estimate(6)", "read_mempool"),
            ("x.submit_package(all)", "send_transactions"),
            ("c.watch_add(items)", "watch_chain"),
            ("c.publish_event(\"PaymentSettled\", b)", "publish:PaymentSettled"),
            ("#[rpc] fn level(&self)", "register_rpc_endpoint"),
        ] {
            assert_eq!(needs(&format!("\n{source}")), [needed], "{source}");
            assert_eq!(uses(&format!("\n{source}"))[0].line, 2);
        }
        assert_eq!(needs("c.publish_event(\"Rain\", b)"), ["publish:Rain", "publish_events"]);
    }

    #[test]
    fn what_is_no_use_is_not_taken_for_one() {
        for source in [
            "// with::<Chain>()",
            "let text = \"#[rpc] client.block()\";",
            "page.block(3)",
            "with::<Chair>()",
            "use blvm_sdk::{Chain, ChainFollower, Mempool};",
            "fn fee_estimate() {}",
        ] {
            assert_eq!(needs(source), [] as [&str; 0], "{source}");
        }
    }

    #[test]
    fn every_topic_and_every_request_of_the_sdk_is_known() {
        assert!(TOPICS.iter().all(|topic| topic_permission(topic).is_some()));
        let methods = methods();
        for source in CLIENT {
            for (_, signature) in
                source.match_indices("\n    pub fn ").map(|(at, _)| source[at..].split_at(12))
            {
                let name = signature.split(['(', '<']).next().unwrap();
                // What a module says of itself needs nothing, and an event its own right.
                let is_free = ["publish_event", "report_module_health"].contains(&name)
                    || name.starts_with("unregister_");
                let is_known = methods.iter().any(|(method, _)| *method == name);
                assert!(is_known || is_free, "{name}");
            }
        }
    }
}
