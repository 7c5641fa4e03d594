//! What a source uses of the node, and which permission each use needs.
//!
//! | in the source | needs |
//! |---|---|
//! | `with::<Chain>`, `feed::<Chain>`, `with_kind::<BlockConnected>`, `#[on(BlockConnected)]` | the permission of the topic; of packets also their topic under `[topics]` |
//! | `ChainFollower::…`, `StoredFollower::…`, `MempoolView::…` | that of their topic |
//! | a method of `Client` | what its documentation says it needs |
//! | `publish_event("Name", …)` | `publish:Name`, or `publish_events` where it is not about payments |
//! | `metrics.counter(…)`, `gauge`, `histogram` | `report_metrics` |
//! | `#[on_mempool]` on a method, `handlers.on_mempool` | `read_mempool` |
//! | `#[rpc]`, `#[command]` on a method, `handlers.rpc`, `handlers.command` | `register_rpc_endpoint` |
//!
//! Names are followed through `use … as …`, `type` and constants of the same file. A method counts for certain where what it is called on
//! is a `Client` by the lines of the file: a variable or field with that type, a function that answers one, `….client()` of what is
//! a `Session` or `Requests` by them. Elsewhere something else may be called so, and what stands under a `#[cfg(…)]` may be left out.

use std::collections::BTreeSet;

use blvm_bus::message::payments::NAMES as PAYMENT_EVENTS;
use blvm_bus::message::{KnownTopic, TOPICS};
use blvm_bus::request::Permission;

use super::names::{Names, is, name, path};
use super::sources::program_tokens;
use super::tokens::{Token, Word};

/// The SDK's own source, which says of each request what it needs.
const CLIENT: [&str; 8] = [
    include_str!("../../../src/client/chain.rs"),
    include_str!("../../../src/client/mempool.rs"),
    include_str!("../../../src/client/metrics.rs"),
    include_str!("../../../src/client/mining.rs"),
    include_str!("../../../src/client/modules.rs"),
    include_str!("../../../src/client/network.rs"),
    include_str!("../../../src/client/status.rs"),
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
    /// Has to be named under `[topics]`.
    pub(super) topic: Option<&'static str>,
    /// Whether it is what it looks like.
    pub(super) is_certain: bool,
    /// Whether it is compiled only under some condition.
    pub(super) is_conditional: bool,
}

/// Topics that are read only if `[topics]` names them.
const NAMED: [&str; 2] = ["mesh_packets", "stratum_packets"];

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

/// Everything that is used, in tests alone excepted.
pub(super) fn uses(source: &str) -> Vec<Use> {
    let tokens = program_tokens(source);
    let (methods, names) = (methods(), Names::of(&tokens));
    let looked = Looked { tokens: &tokens, names: &names, methods: &methods };
    let mut uses: Vec<Use> = (0..tokens.len()).filter_map(|at| looked.use_at(at)).collect();
    uses.dedup();
    uses
}

/// Whether a method is called on something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Called {
    /// By the lines of the file it is.
    Surely,
    /// On a `….client()` of which the file does not say whose.
    Likely,
    /// On anything.
    Perhaps,
}

/// A source that is looked at.
struct Looked<'a, 's> {
    tokens: &'a [Token<'s>],
    names: &'a Names<'s>,
    methods: &'a [(&'static str, Permission)],
}

impl<'s> Looked<'_, 's> {
    fn use_at(&self, at: usize) -> Option<Use> {
        let tokens = self.tokens;
        let found = name(tokens, at)?;
        let before = |distance: usize, sign| at.checked_sub(distance).is_some_and(|at| is(tokens, at, sign));
        let is_path = is(tokens, at + 1, ':') && is(tokens, at + 2, ':');
        let is_turbofish = is_path && is(tokens, at + 3, '<');
        let is_attribute = before(1, '[') && before(2, '#') && self.stands_on_method(at);
        let is_method = before(1, '.') && is(tokens, at + 1, '(');
        match self.names.real(found) {
            "with" | "with_all_kinds" | "with_kinds" | "feed" | "on_missed" if is_turbofish => {
                let last = *self.path(at + 4).last()?;
                self.topic(at, TOPICS.iter().find(|topic| type_name(topic) == last)?)
            }
            "with_kind" | "on" | "on_concurrently" if is_turbofish => {
                self.topic(at, of_kind(&self.path(at + 4))?)
            }
            "on" if is_attribute && is(tokens, at + 1, '(') => self.topic(at, of_kind(&self.path(at + 2))?),
            word @ ("rpc" | "command") if is_attribute => {
                self.used(at, format!("#[{word}]"), Permission::RegisterRpcEndpoint, true)
            }
            "on_mempool" if is_attribute => {
                self.used(at, "#[on_mempool]".to_owned(), Permission::ReadMempool, true)
            }
            "on_mempool" if is_method && self.stands_on_handlers(at) => {
                self.used(at, "handlers.on_mempool".to_owned(), Permission::ReadMempool, true)
            }
            word @ ("rpc" | "command") if is_method && self.stands_on_handlers(at) => {
                self.used(at, format!("handlers.{word}"), Permission::RegisterRpcEndpoint, true)
            }
            word @ ("counter" | "gauge" | "histogram")
                if is_method && at.checked_sub(2).is_some_and(|on| name(tokens, on) == Some("metrics")) =>
            {
                self.used(at, format!("metrics.{word}"), Permission::ReportMetrics, true)
            }
            word @ ("ChainFollower" | "StoredFollower") if is_path => {
                self.used(at, word.to_owned(), Permission::ReadBlockchain, true)
            }
            word @ "MempoolView" if is_path => self.used(at, word.to_owned(), Permission::ReadMempool, true),
            "Client" if is_path => self.request(at, name(tokens, at + 3)?, Called::Surely, at + 4),
            _ if is_method => self.request(at, found, self.called(at), at + 1),
            _ => None,
        }
    }

    fn used(&self, at: usize, what: String, permission: Permission, is_certain: bool) -> Option<Use> {
        let Token { line, is_conditional, .. } = self.tokens[at];
        let any_of = vec![permission.name().to_owned()];
        Some(Use { line, what, any_of, topic: None, is_certain, is_conditional })
    }

    fn topic(&self, at: usize, topic: &'static KnownTopic) -> Option<Use> {
        let used = self.used(at, format!("topic {}", topic.name), topic_permission(topic)?, true)?;
        Some(Use { topic: NAMED.contains(&topic.name).then_some(topic.name), ..used })
    }

    /// A method by that name, whose arguments begin at `arguments`.
    fn request(&self, at: usize, method: &'s str, called: Called, arguments: usize) -> Option<Use> {
        if method == "publish_event" && is(self.tokens, arguments, '(') {
            // As method of a type the client comes first.
            let first = (arguments + 1..self.tokens.len()).take_while(|at| !is(self.tokens, *at, ')'));
            let text = first.filter_map(|at| match self.tokens[at].word {
                Word::Text(text) => Some(text),
                Word::Name(constant) => self.names.text_of(constant),
                Word::Sign(_) => None,
            });
            return Some(publishes(&self.tokens[at], text.take(1).next(), called == Called::Surely));
        }
        let (_, permission) = self.methods.iter().find(|(known, _)| *known == method)?;
        if called == Called::Perhaps && COMMON.contains(&method) {
            return None;
        }
        let used = self.used(at, format!("the request {method}"), *permission, called == Called::Surely)?;
        let topic = (method == "send_mesh_packet_to_peer").then_some(NAMED[0]);
        Some(Use { topic, ..used })
    }

    /// A path with what its names stand for.
    fn path(&self, from: usize) -> Vec<&'s str> {
        path(self.tokens, from).into_iter().map(|part| self.names.real(part)).collect()
    }

    /// Whether the attribute at a token stands on a function. Other crates have attributes of these names on other things.
    fn stands_on_method(&self, at: usize) -> bool {
        let mut depth = 1_usize;
        for token in &self.tokens[at..] {
            match token.word {
                Word::Sign('(' | '[') => depth += 1,
                Word::Sign(')' | ']') => depth = depth.saturating_sub(1),
                Word::Name("fn") if depth == 0 => return true,
                Word::Name("pub" | "async" | "crate" | "super" | "const") | Word::Sign('#') => {}
                _ if depth == 0 => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether the method at a token is called on what is `Handlers` by the lines of the file.
    fn stands_on_handlers(&self, at: usize) -> bool {
        let variable = at.checked_sub(2).and_then(|on| name(self.tokens, on));
        variable.is_some_and(|variable| self.names.has_type(variable, "Handlers"))
    }

    /// Whether the method at a token is called on a `Client`.
    fn called(&self, at: usize) -> Called {
        let Some(last) = at.checked_sub(2) else { return Called::Perhaps };
        match (name(self.tokens, last), self.names.asked(self.tokens, last)) {
            (Some(variable), _) if self.names.has_type(variable, "Client") => Called::Surely,
            (None, Some(true)) => Called::Surely,
            (None, Some(false)) => Called::Likely,
            _ => Called::Perhaps,
        }
    }
}

/// The topic of a kind; of two topics with such a kind the one that the path names.
fn of_kind(path: &[&str]) -> Option<&'static KnownTopic> {
    let kind = path.last()?;
    let mut topics = TOPICS.iter().filter(|topic| topic.kind_number(kind).is_some());
    let first = topics.next()?;
    let is_named = |topic: &&KnownTopic| path.contains(&topic.name);
    Some([first].into_iter().chain(topics).find(is_named).unwrap_or(first))
}

/// An event that is published; `None` where its name comes from elsewhere.
fn publishes(token: &Token<'_>, event: Option<&str>, is_certain: bool) -> Use {
    let Token { line, is_conditional, .. } = *token;
    let general = Permission::PublishEvents.name().to_owned();
    let Some(event) = event else {
        let what = "an event whose name does not stand there".to_owned();
        return Use { line, what, any_of: vec![general], topic: None, is_certain: false, is_conditional };
    };
    let own = format!("publish:{event}");
    let is_payment = PAYMENT_EVENTS.contains(&event);
    let any_of = [own].into_iter().chain((!is_payment).then_some(general)).collect();
    Use { line, what: format!("the event {event}"), any_of, topic: None, is_certain, is_conditional }
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
            ("use blvm_sdk::Chain as C; Topics::new().with::<C>()", "read_blockchain"),
            ("session.feed::<blvm_sdk::Mempool>()?", "read_mempool"),
            ("topics.with_kind::<BlockConnected>()", "read_blockchain"),
            ("#[on(TransactionAdded, concurrent)] async fn f(&self) {}", "read_mempool"),
            ("use x::{TransactionAdded as Added}; #[on(Added)] fn f(&self) {}", "read_mempool"),
            ("#[on(stratum_packets::PacketReceived)] /// Doc.\n pub(crate) fn f(&self) {}", "network_access"),
            (
                "use blvm_sdk::stratum_packets as sv2; #[on(sv2::PacketReceived)] fn f(&self) {}",
                "network_access",
            ),
            ("handlers.on::<PeerConnected>(\"f\", f)", "read_network"),
            ("fn handlers(handlers: &mut Handlers<Self>) { handlers.rpc(\"f\") }", "register_rpc_endpoint"),
            ("ChainFollower::from_tip(&mut session)", "read_blockchain"),
            ("StoredFollower::new(&mut session)", "read_blockchain"),
            ("MempoolView::new(&mut session)", "read_mempool"),
            ("fn f(session: &mut Session) { session.client().block(hash)? }", "read_blockchain"),
            ("fn f(client: &mut Client) { client.fee_estimate(6) }", "read_mempool"),
            ("let session = blvm_sdk::Session::attach(t)?; session.client().block(hash)?", "read_blockchain"),
            (
                "fn new(start: Start<()>) { let mut c = start.requests.client(); c.block(hash) }",
                "read_blockchain",
            ),
            ("let Start { settings, requests, .. } = start; requests.client().utxo(o)", "read_utxo"),
            (
                "struct A { requests: Requests } fn f() { let mut c = self.requests.client(); c.block(hash) }",
                "read_blockchain",
            ),
            (
                "struct A { node: blvm_sdk::Client } fn f() { self.node.submit_package(all) }",
                "send_transactions",
            ),
            ("fn ask(&self) -> Client { x } fn f() { self.ask().watch_add(items) }", "watch_chain"),
            ("Client::fee_estimate(&mut c, 6)", "read_mempool"),
            (
                "fn f(x: Requests) { x.client().publish_event(\"PaymentSettled\", b) }",
                "publish:PaymentSettled",
            ),
            (
                "const E: &str = \"PaymentFailed\"; fn f(x: Requests) { x.client().publish_event(E, b) }",
                "publish:PaymentFailed",
            ),
            ("#[on_mempool] fn changed(&self, mempool: &MempoolView) {}", "read_mempool"),
            ("fn handlers(handlers: &mut Handlers<Self>) { handlers.on_mempool(\"f\", f) }", "read_mempool"),
            ("#[rpc(name = \"a\")] async fn level(&self) {}", "register_rpc_endpoint"),
            ("start.metrics.counter(\"a\", &[])?", "report_metrics"),
            ("#[command] #[doc(hidden)] fn status(&self) {}", "register_rpc_endpoint"),
        ] {
            let found = uses(&format!("\n{source}"));
            let found: Vec<_> =
                found.iter().map(|used| (&*used.any_of[0], used.line, used.is_certain)).collect();
            assert_eq!(found, [(needed, 2, true)], "{source}");
        }
        assert_eq!(needs("x.client().publish_event(\"Rain\", b)"), ["publish:Rain", "publish_events"]);
        assert_eq!(uses("#[on(mesh_packets::PacketReceived)] fn f() {}")[0].topic, Some("mesh_packets"));
        assert_eq!(uses("x.client().send_mesh_packet_to_peer(1, p)")[0].topic, Some("mesh_packets"));
    }

    #[test]
    fn what_may_be_something_else_is_not_certain() {
        for source in [
            "x.submit_package(all)",
            "fn ask() -> Page {} ask().fee_estimate(3)",
            "x.publish_event(\"Rain\", b)",
            "x.client().publish_event(name, b)",
            "self.electrum.client().block(height)",
            "let c = electrum.client(); c.fee_estimate(3)",
            "#[cfg(feature = \"mining\")] fn f(client: &mut Client) { client.submit_block(b) }",
            "#[cfg(windows)] impl A { #[on(TransactionAdded)] fn f(&self) {} }",
        ] {
            let found = uses(source);
            assert!(
                found.len() == 1 && (!found[0].is_certain || found[0].is_conditional),
                "{source}: {found:?}"
            );
        }
    }

    #[test]
    fn what_is_no_use_is_not_taken_for_one() {
        for source in [
            "// with::<Chain>()",
            "let text = \"#[rpc] client.block()\";",
            "page.block(3)",
            "shop.counter(3)",
            "with::<Chair>()",
            "use blvm_sdk::{Chain, ChainFollower, Mempool};",
            "fn fee_estimate() {}",
            "#[derive(Parser)] #[command(name = \"x\")] struct Arguments { #[command(flatten)] more: More }",
            "#[rpc(server)] trait Api {}",
            "#[cfg(test)] mod tests { fn f() { x.client().block(3) } }",
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
