//! What a module may do: as its `module.toml` says, or as the test does.

use std::collections::BTreeMap;

use blvm_bus::message::chain::Chain;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::mesh_packets::MeshPackets;
use blvm_bus::message::mining::Mining;
use blvm_bus::message::modules::Modules;
use blvm_bus::message::payments::{self, Payments};
use blvm_bus::message::peers::Peers;
use blvm_bus::message::stratum_packets::StratumPackets;
use blvm_bus::message::system::System;
use blvm_bus::message::{Topic, topic, topic_named};
use blvm_bus::request::{Permission, Refusal, Request};
use blvm_bus::wake::{ALL_KINDS, kind_bit};

/// The rights of a module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grants {
    /// All of them, whatever stands below.
    pub(crate) are_all: bool,
    /// Nothing that changes something for others, whatever stands below.
    only_reads: bool,
    pub(crate) permissions: Vec<Permission>,
    /// Events it may publish by name.
    publishes: Vec<String>,
    /// Topics it names, by number, each with its kinds.
    topics: BTreeMap<u32, u64>,
}

/// What of a `module.toml` a test needs. The rest is for `cargo blvm-module check` to judge.
#[derive(Debug, Default, serde::Deserialize)]
struct Manifest {
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    topics: BTreeMap<String, TopicTable>,
}

#[derive(Debug, Default, serde::Deserialize)]
struct TopicTable {
    kinds: Option<Vec<String>>,
}

/// What a manifest says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Read {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) grants: Grants,
}

impl Grants {
    pub(crate) fn all() -> Self {
        Grants { are_all: true, ..Grants::default() }
    }

    pub(crate) fn of(permissions: &[Permission]) -> Self {
        // Who may read packets at all may read those of all protocols here: naming them is for the manifest.
        let topics = [(MeshPackets::NUMBER, ALL_KINDS), (StratumPackets::NUMBER, ALL_KINDS)];
        Grants { permissions: permissions.to_vec(), topics: topics.into(), ..Grants::default() }
    }

    /// Those of who attaches by path: to read everything and change nothing.
    pub(crate) fn reading() -> Self {
        let permissions: Vec<_> =
            Permission::ALL.into_iter().filter(|permission| permission.only_reads()).collect();
        Grants { only_reads: true, ..Grants::of(&permissions) }
    }

    /// Reads the text of a `module.toml`.
    ///
    /// # Errors
    ///
    /// What is wrong in it, for the author.
    pub(crate) fn read(text: &str) -> Result<Read, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut grants = Grants::default();
        for capability in manifest.capabilities {
            match capability.strip_prefix("publish:") {
                Some(event) => grants.publishes.push(event.to_owned()),
                None => grants.permissions.push(
                    Permission::ALL
                        .into_iter()
                        .find(|permission| permission.name() == capability)
                        .ok_or_else(|| format!("unknown permission \"{capability}\""))?,
                ),
            }
        }
        for (name, TopicTable { kinds }) in manifest.topics {
            let topic = topic_named(&name).ok_or_else(|| format!("unknown topic \"{name}\""))?;
            let mask = kinds.map_or(Ok(ALL_KINDS), |kinds| {
                kinds.iter().try_fold(0, |mask, kind| match topic.kind_number(kind) {
                    Some(number) => Ok(mask | kind_bit(number)),
                    None => Err(format!("topic {name} has no kind \"{kind}\"")),
                })
            })?;
            grants.topics.insert(topic.number, mask);
        }
        Ok(Read { name: manifest.name, version: manifest.version, grants })
    }

    fn may(&self, permission: Permission) -> bool {
        self.are_all || self.permissions.contains(&permission)
    }

    fn names(&self, topic: u32) -> bool {
        self.are_all || self.topics.contains_key(&topic)
    }

    /// The kinds of a topic that the manifest names; all if it names none.
    pub(crate) fn kinds(&self, topic: u32) -> u64 {
        self.topics.get(&topic).copied().unwrap_or(ALL_KINDS)
    }

    /// Whether the module may read a topic.
    pub(crate) fn check_topic(&self, number: u32) -> Result<(), Refusal> {
        let Some((permission, is_named)) = needed_for(number) else {
            return Err(Refusal::UnknownTopic { topic: number });
        };
        if !self.may(permission) {
            return Err(Refusal::Denied { permission: permission.name().to_owned() });
        }
        if is_named && !self.names(number) {
            return Err(unnamed(number));
        }
        Ok(())
    }

    /// Whether the module may ask that.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Refusal> {
        let is_kept = self.only_reads && request.changes_something();
        if let Some(needed) = request.needed_permission().filter(|needed| is_kept || !self.may(*needed)) {
            return Err(Refusal::Denied { permission: needed.name().to_owned() });
        }
        if let Some(event) = request.published_event() {
            let is_payment = payments::NAMES.contains(&event);
            let by_name = self.are_all || self.publishes.iter().any(|published| published == event);
            if !by_name && (is_payment || !self.may(Permission::PublishEvents)) {
                let general = Permission::PublishEvents.name().to_owned();
                let permission = if is_payment { format!("publish:{event}") } else { general };
                return Err(Refusal::Denied { permission });
            }
        }
        match request.needed_topic().filter(|topic| !self.names(*topic)) {
            Some(topic) => Err(unnamed(topic)),
            None => Ok(()),
        }
    }
}

fn unnamed(number: u32) -> Refusal {
    Refusal::Unnamed { topic: topic(number).map_or("this", |topic| topic.name).to_owned() }
}

/// What reading a topic needs, and whether `[topics]` must name it besides: as the node has it.
fn needed_for(number: u32) -> Option<(Permission, bool)> {
    Some(match number {
        Chain::NUMBER => (Permission::ReadBlockchain, false),
        Mining::NUMBER => (Permission::MiningTemplate, false),
        Mempool::NUMBER => (Permission::ReadMempool, false),
        Peers::NUMBER => (Permission::ReadNetwork, false),
        System::NUMBER | Modules::NUMBER => (Permission::SubscribeEvents, false),
        Payments::NUMBER => (Permission::ReadPayment, false),
        MeshPackets::NUMBER | StratumPackets::NUMBER => (Permission::NetworkAccess, true),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use blvm_bus::message::TOPICS;
    use blvm_bus::request::ModulesRequest;

    use super::*;

    #[test]
    fn topics_need_what_the_document_of_the_node_says() {
        let document = include_str!("../../../docs/permissions.md");
        for topic in TOPICS {
            let (permission, _) = needed_for(topic.number).unwrap();
            let row = format!("| `{}` |", permission.name());
            let row = document.lines().find(|line| line.starts_with(&row)).unwrap();
            assert!(row.contains(&format!("`{}`", topic.name)), "{} is missing in {row}", topic.name);
        }
    }

    #[test]
    fn a_manifest_grants_what_it_asks_for_and_nothing_else() {
        let text = r#"
            name = "pool"
            version = "1.2.3"
            entry_point = "pool"
            capabilities = ["read_blockchain", "publish:PaymentSettled", "network_access"]
            [topics]
            chain = { kinds = ["BlockConnected"] }
            mesh_packets = {}
        "#;
        let Read { name, version, grants } = Grants::read(text).unwrap();
        assert_eq!((name.as_deref(), version.as_deref()), (Some("pool"), Some("1.2.3")));
        assert_eq!(grants.kinds(Chain::NUMBER), 1 << 1);
        assert_eq!(grants.kinds(MeshPackets::NUMBER), ALL_KINDS);
        let refused = |number| grants.check_topic(number).unwrap_err().to_string();
        assert!(grants.check_topic(Chain::NUMBER).is_ok() && grants.check_topic(MeshPackets::NUMBER).is_ok());
        assert!(refused(Mempool::NUMBER).contains("this needs the permission read_mempool"));
        assert!(refused(StratumPackets::NUMBER).contains("add \"stratum_packets = {}\" under [topics]"));
        let publish = |name: &str| {
            let request = ModulesRequest::PublishEvent { name: name.to_owned(), payload: Vec::new() };
            grants.check(&Request::Modules(Box::new(request)))
        };
        assert_eq!(publish("PaymentSettled"), Ok(()));
        assert!(publish("PaymentFailed").unwrap_err().to_string().contains("publish:PaymentFailed"));
        assert!(publish("Other").unwrap_err().to_string().contains("publish_events"));
        assert!(Grants::read("capabilities = [\"read_all\"]").unwrap_err().contains("\"read_all\""));
    }
}
