//! The node's topics: their segments, their publishers, and what of the node's events goes where.

mod events;
mod host;
mod info;
pub(crate) mod modules;
mod replayed;
mod standing;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use blvm_bus::layout::Geometry;
use blvm_bus::lease::{LEASE_PAGE_BYTES, ScanTable};
use blvm_bus::memory::Mapped;
use blvm_bus::message::chain::{BlockTransaction, Chain};
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::mesh_packets::MeshPackets;
use blvm_bus::message::mining::Mining;
use blvm_bus::message::modules::Modules;
use blvm_bus::message::payments::Payments;
use blvm_bus::message::peers::Peers;
use blvm_bus::message::stratum_packets::StratumPackets;
use blvm_bus::message::system::System;
use blvm_bus::message::{Kind, Topic};
use blvm_bus::request::Permission;
use blvm_bus::segment::{CreateError, RunId};
use blvm_bus::wake::{Waker, WakerError};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Uid;
use parking_lot::Mutex;

use host::{AnyTopic, Grant, TopicHost};

use crate::source::SyncState;
use crate::watch::Watches;
pub(crate) use events::index_entry;
pub use info::SegmentInfo;

/// Sizes of the node's topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicsOptions {
    /// Sizes of `chain`. Its terms bound how many leases can be promised: 2 more than all of them.
    pub chain: Geometry,
    /// Bodies one module may hold at once.
    pub leases: u8,
    /// Modules that may hold bodies.
    pub lease_holders: usize,
}

impl Default for TopicsOptions {
    fn default() -> Self {
        TopicsOptions { chain: Chain::GEOMETRY, leases: 2, lease_holders: 8 }
    }
}

/// Why the topics could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicsError {
    /// No random numbers for the run id.
    #[error("the system's random numbers cannot be read")]
    RunId(#[source] io::Error),
    /// A segment could not be created.
    #[error(transparent)]
    Segment(#[from] CreateError),
    /// The waker could not be started.
    #[error(transparent)]
    Waker(#[from] WakerError),
    /// The thread that looks for what modules watch for could not be started.
    #[error("no thread can be started to look for what modules watch for")]
    Watch(#[source] io::Error),
    /// Fewer terms than the leases promised need.
    #[error("chain has {terms} terms, {needed} are needed for {leases} leases of {lease_holders} modules")]
    TooFewTerms {
        /// Terms given.
        terms: u32,
        /// Terms needed.
        needed: usize,
        /// Leases a module.
        leases: u8,
        /// Modules.
        lease_holders: usize,
    },
}

/// What a manifest must say for a module to read a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The permission among its capabilities.
    pub permission: Permission,
    /// Whether `[topics]` must name the topic besides.
    pub is_named: bool,
}

impl Access {
    const fn by(permission: Permission) -> Self {
        Access { permission, is_named: false }
    }

    const fn by_name_and(permission: Permission) -> Self {
        Access { permission, is_named: true }
    }
}

/// The node's topics, one line each, in the order in which their rings are kept in memory.
macro_rules! hosts {
    ($( $field:ident: $topic:ty, $access:expr; )*) => {
        #[derive(Debug)]
        struct Hosts {
            $( $field: TopicHost<$topic>, )*
        }

        impl Hosts {
            const COUNT: usize = [$( <$topic>::NUMBER ),*].len();

            fn create(
                run_id: RunId,
                options: &TopicsOptions,
                table: &Arc<ScanTable<Mapped>>,
                waker: &Waker,
            ) -> Result<Self, CreateError> {
                Ok(Hosts { $( $field: TopicHost::create(run_id, options, table, waker)?, )* })
            }

            fn all(&self) -> [&dyn AnyTopic; Self::COUNT] {
                [$( &self.$field ),*]
            }
        }

        /// What reading `topic` needs; `None` if there is no such topic.
        pub fn access(topic: u32) -> Option<Access> {
            match topic {
                $( <$topic>::NUMBER => Some($access), )*
                _ => None,
            }
        }
    };
}

hosts! {
    chain: Chain, Access::by(Permission::ReadBlockchain);
    mining: Mining, Access::by(Permission::MiningTemplate);
    mempool: Mempool, Access::by(Permission::ReadMempool);
    peers: Peers, Access::by(Permission::ReadNetwork);
    system: System, Access::by(Permission::SubscribeEvents);
    modules: Modules, Access::by(Permission::SubscribeEvents);
    payments: Payments, Access::by(Permission::ReadPayment);
    mesh_packets: MeshPackets, Access::by_name_and(Permission::NetworkAccess);
    stratum_packets: StratumPackets, Access::by_name_and(Permission::NetworkAccess);
}

/// The node's side of the bus.
#[derive(Debug)]
pub struct Topics {
    run_id: RunId,
    options: TopicsOptions,
    pub(crate) table: Arc<ScanTable<Mapped>>,
    pub(crate) waker: Waker,
    hosts: Hosts,
    /// What the node fetched when it was last said.
    sync: Mutex<SyncState>,
    /// The index of the block being published.
    block_index: Mutex<Vec<BlockTransaction>>,
    /// What modules watch for: given what was published.
    pub(crate) watches: Watches,
    /// The topics that a recording is played on, and nothing else; empty where there is a node.
    replayed: OnceLock<Vec<u32>>,
}

impl Topics {
    /// Creates the segments and starts the waker.
    ///
    /// Cost: 0.3 to 0.8 ms of CPU a MiB for what is populated at once (134 of 262 MiB by default); the other terms of `chain`
    /// follow in the background.
    ///
    /// # Errors
    ///
    /// [`TopicsError`].
    pub fn create(options: TopicsOptions) -> Result<Self, TopicsError> {
        let begun = Instant::now();
        let TopicsOptions { chain, leases, lease_holders } = options;
        let needed = 2 + lease_holders * usize::from(leases);
        if (chain.terms as usize) < needed {
            return Err(TopicsError::TooFewTerms { terms: chain.terms, needed, leases, lease_holders });
        }
        let run_id = RunId::random().map_err(TopicsError::RunId)?;
        let table = Arc::new(ScanTable::new(lease_holders));
        let waker = Waker::start()?;
        let hosts = Hosts::create(run_id, &options, &table, &waker)?;
        let sync = Mutex::new(SyncState::NoPeers);
        let watches = Watches::start().map_err(TopicsError::Watch)?;
        let (block_index, replayed) = (Mutex::default(), OnceLock::new());
        let topics = Topics { run_id, options, table, waker, hosts, sync, block_index, watches, replayed };
        topics.lock_rings();
        let mib = topics.segment_bytes() >> 20;
        tracing::info!(topics = Hosts::COUNT, mib, after_ms = begun.elapsed().as_millis(), "topics created");
        Ok(topics)
    }

    /// Bytes of all segments; all of it is memory once the terms of `chain` are populated.
    pub fn segment_bytes(&self) -> u64 {
        self.hosts.all().iter().map(|topic| topic.grant().segment.layout.segment_bytes as u64).sum()
    }

    /// Every topic's segment: name and length in bytes.
    pub fn segments(&self) -> Vec<(&'static str, u64)> {
        let segment = |topic: &dyn AnyTopic| {
            let grant = topic.grant();
            (grant.name, grant.segment.layout.segment_bytes as u64)
        };
        self.hosts.all().map(segment).to_vec()
    }

    /// Every topic's segment, as operators see it.
    pub fn describe(&self) -> Vec<SegmentInfo> {
        self.hosts.all().map(SegmentInfo::new).to_vec()
    }

    /// Lease pages that modules hold, and how many there can be.
    pub fn lease_pages(&self) -> (usize, usize) {
        (self.table.len(), self.options.lease_holders)
    }

    /// Keeps the rings in memory as far as the limit reaches, the most urgent first. Lease pages come before all of them:
    /// a module without its page is refused, so their room is left free.
    fn lock_rings(&self) {
        let pages = (self.options.lease_holders * LEASE_PAGE_BYTES) as u64;
        let limit = if Uid::effective().is_root() {
            u64::MAX
        } else {
            getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft)
        };
        self.hosts.all().iter().fold(limit.saturating_sub(pages), |left, topic| topic.lock_ring(left));
    }

    /// Names this life of the node.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Bodies one module may hold at once.
    pub fn leases(&self) -> u8 {
        self.options.leases
    }

    /// Publishes a message about the node or its modules.
    pub fn publish_system<K: Kind<Topic = System>>(&self, message: &K) {
        if self.is_replayed() {
            return;
        }
        self.hosts.system.publish(message);
    }

    /// The next sequence of every topic, by number.
    pub fn next_sequences(&self) -> Vec<(u32, u64)> {
        self.hosts.all().map(|topic| (topic.number(), topic.next_sequence())).to_vec()
    }

    /// The next sequence of one topic; `None` if there is no such topic.
    pub fn next_sequence(&self, topic: u32) -> Option<u64> {
        self.hosts.all().into_iter().find(|host| host.number() == topic).map(AnyTopic::next_sequence)
    }

    /// The first sequence that counts for a module that attaches now, or has lost what stands, of each of `topics`, by number: of `mining` that of the
    /// current tip or template, whichever was first, so that it need not ask; of all others the next one.
    ///
    /// Sends what is current again where too much has been published since.
    pub fn start_sequences(&self, topics: &[u32]) -> Vec<(u32, u64)> {
        let hosts = self.hosts.all().into_iter().filter(|host| topics.contains(&host.number()));
        hosts.map(|host| (host.number(), host.start_sequence())).collect()
    }

    /// How often `chain` entered a term.
    pub fn chain_terms_entered(&self) -> u64 {
        self.hosts.chain.publisher.lock().terms_entered()
    }

    /// Closes every topic: subscribers read what was published, then see the end.
    pub fn close(&self) {
        self.hosts.all().into_iter().for_each(AnyTopic::close);
    }

    /// What a module that may read `topic` is given; `None` if there is no such topic.
    pub(crate) fn grant(&self, topic: u32) -> Option<Grant<'_>> {
        self.hosts.all().into_iter().find(|host| host.number() == topic).map(AnyTopic::grant)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bitcoin::consensus::deserialize;
    use bitcoin::hashes::Hash as _;
    use blvm_bus::message::mining::MiningEvent;
    use blvm_bus::message::{TOPICS, Value};
    use blvm_bus::segment::{Identity, open_sealed};
    use blvm_bus::subscriber::Subscriber;

    use super::standing::NEAR_MESSAGES;
    use super::*;
    use crate::embedded::{BlockVerdict, EmbeddedNode, EmbeddedOptions, Network};
    use crate::source::{ChainPosition, CoinbaseConstraints, EventSink, NodeApi, NodeEvent, Template, Tip};

    pub(super) fn topics() -> Topics {
        let chain = Geometry { depth: 16, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap()
    }

    /// Maps a topic as a module does.
    pub(super) fn subscribe<T: Topic>(topics: &Topics, start: u64) -> Subscriber<T> {
        let grant = topics.grant(T::NUMBER).unwrap();
        let identity = Identity { topic: grant.topic, schema: grant.schema, run_id: topics.run_id() };
        let (memory, layout) = open_sealed(grant.segment.open_for_module().unwrap(), &identity).unwrap();
        Subscriber::new(Arc::new(memory), layout, start, None)
    }

    pub(super) fn tip(height: u32) -> Tip {
        Tip {
            position: ChainPosition { hash: [height as u8; 32], height },
            previous: [height as u8 - 1; 32],
            header: [9; 80],
            next_bits: Some(0x207f_ffff),
            next_min_time: 1_700_000_001,
        }
    }

    #[test]
    fn every_topic_of_the_bus_is_there_with_its_permission_and_can_be_mapped() {
        let topics = topics();
        let known: BTreeSet<_> = TOPICS.iter().map(|topic| topic.number).collect();
        let hosted: BTreeSet<_> = topics.next_sequences().into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(hosted, known);
        assert_eq!(Hosts::COUNT, known.len());
        for topic in TOPICS {
            let grant = topics.grant(topic.number).unwrap();
            assert_eq!((grant.topic, grant.name, grant.schema), (topic.number, topic.name, topic.schema));
            blvm_bus::with_topic!(topic.number, T => assert_eq!(subscribe::<T>(&topics, 1).cursor(), 1))
                .unwrap();
        }
        assert!(topics.grant(99).is_none() && access(99).is_none());
        let needed = |name: &str| access(blvm_bus::message::topic_named(name).unwrap().number).unwrap();
        let permissions = [
            ("chain", "read_blockchain"),
            ("mining", "mining_template"),
            ("mempool", "read_mempool"),
            ("peers", "read_network"),
            ("mesh_packets", "network_access"),
            ("stratum_packets", "network_access"),
            ("system", "subscribe_events"),
            ("modules", "subscribe_events"),
            ("payments", "read_payment"),
        ];
        for (topic, permission) in permissions {
            let is_named = topic.ends_with("_packets");
            assert_eq!((needed(topic).permission.name(), needed(topic).is_named), (permission, is_named));
        }
        let document = include_str!("../../docs/permissions.md");
        for topic in TOPICS {
            let row = format!("| `{}` |", access(topic.number).unwrap().permission.name());
            let row = document.lines().find(|line| line.starts_with(&row)).unwrap();
            assert!(row.contains(&format!("`{}`", topic.name)), "{} is missing in {row}", topic.name);
        }
    }

    #[test]
    fn a_tip_is_published_and_read_first_by_who_attaches_later() {
        let topics = topics();
        let all: Vec<_> = TOPICS.iter().map(|topic| topic.number).collect();
        let starts = |topics: &Topics| topics.start_sequences(&all).into_iter().collect::<BTreeMap<_, _>>();
        assert!(starts(&topics).values().all(|start| *start == 1));
        topics.event(NodeEvent::TipChanged(tip(1)));
        topics.event(NodeEvent::TipChanged(tip(2)));
        assert_eq!(starts(&topics)[&Mining::NUMBER], 2);
        let mut mining = subscribe::<Mining>(&topics, 2);
        let sample = mining.poll().unwrap().unwrap();
        let MiningEvent::TipChanged(found) = sample.event().unwrap() else { panic!("another kind") };
        assert_eq!((found.hash, found.previous, found.height.to_native()), ([2; 32], [1; 32], 2));
        assert_eq!((found.header, found.next_min_time.to_native()), ([9; 80], 1_700_000_001));
        let mut bits = None;
        Mining::visit_event(&MiningEvent::TipChanged(found), &mut |name, value| {
            if name == "next_bits" {
                bits = Some(value);
            }
        });
        assert_eq!(bits, Some(Value::U64(0x207f_ffff)));
        assert!(mining.poll().unwrap().is_none());
    }

    #[test]
    fn each_tip_of_a_real_node_is_published_once() {
        let directory = tempfile::tempdir().unwrap();
        let topics = Arc::new(topics());
        let sink = Arc::clone(&topics) as Arc<dyn EventSink>;
        let node =
            EmbeddedNode::open(EmbeddedOptions::new(directory.path(), Network::Regtest), sink).unwrap();
        let payout = bitcoin::ScriptBuf::new();
        for _ in 0..12 {
            node.mine_block(&payout).unwrap();
        }
        node.reorganise(2, &payout).unwrap();
        let raw = node.block_by_height(12).unwrap().unwrap().raw;
        assert_eq!(node.submit_block(&raw).unwrap(), BlockVerdict::Duplicate);
        let mut mining = subscribe::<Mining>(&topics, 1);
        let mut tips = Vec::new();
        while let Some(sample) = mining.poll().unwrap() {
            let MiningEvent::TipChanged(tip) = sample.event().unwrap() else { continue };
            let header: bitcoin::block::Header = deserialize(&tip.header).unwrap();
            assert_eq!(header.block_hash().to_byte_array(), tip.hash);
            assert_eq!(header.prev_blockhash.to_byte_array(), tip.previous);
            tips.push((tip.height.to_native(), tip.hash, tip.next_min_time.to_native()));
        }
        let heights: Vec<_> = tips.iter().map(|(height, ..)| *height).collect();
        // Genesis when it opened; of the reorganisation only where it led.
        assert_eq!(heights, (0..=13).collect::<Vec<_>>());
        let (height, hash, min_time) = tips[13];
        assert_eq!(node.chain_tip(), ChainPosition { hash, height });
        let time = |height| {
            let raw = node.block_by_height(height).unwrap().unwrap().raw;
            deserialize::<bitcoin::block::Header>(&raw[..80]).unwrap().time
        };
        let mut times: Vec<_> = (3..=13).map(time).collect();
        times.sort_unstable();
        assert_eq!(min_time, times[5] + 1, "the median of the last eleven, plus 1");
    }

    /// What a module that attaches now finds on `mining`: sequence and number of the kind of each message.
    fn found_by_who_attaches(topics: &Topics) -> Vec<(u64, &'static str)> {
        let [(_, start)] = topics.start_sequences(&[Mining::NUMBER])[..] else { panic!("one topic") };
        let mut mining = subscribe::<Mining>(topics, start);
        let mut found = Vec::new();
        while let Some(sample) = mining.poll().unwrap() {
            let kind = Mining::visit_event(&sample.event().unwrap(), &mut |_, _| {});
            found.push((sample.sequence(), kind));
        }
        found
    }

    pub(super) fn template(id: u64) -> Arc<Template> {
        Arc::new(Template {
            id,
            previous: [1; 32],
            height: 2,
            version: 3,
            bits: 4,
            min_time: 5,
            coinbase_value_sat: 6,
            fees_sat: 7,
            weight: 8,
            sigop_cost: 9,
            coinbase_weight_limit: 10,
            coinbase_sigop_cost_limit: 11,
            constraints: CoinbaseConstraints { output_bytes: 12, sigop_cost: 13 },
            coinbase_version: 14,
            coinbase_sequence: 15,
            coinbase_lock_time: 16,
            coinbase_prefix: vec![17],
            witness_commitment: vec![18],
            outputs: Vec::new(),
            merkle_path: vec![[19; 32]],
            is_empty: false,
            transactions: Arc::new([]),
        })
    }

    const DELTA: NodeEvent = NodeEvent::FeeDelta { template_id: 1, announced_fees_sat: 2, fees_sat: 3 };

    #[test]
    fn who_attaches_later_reads_the_tip_and_the_template_that_stand() {
        let topics = topics();
        assert_eq!(found_by_who_attaches(&topics), []);
        topics.event(NodeEvent::TipChanged(tip(1)));
        assert_eq!(found_by_who_attaches(&topics), [(1, "TipChanged")]);
        topics.event(NodeEvent::TemplateUpdated(template(1)));
        topics.event(NodeEvent::TemplateUpdated(template(2)));
        topics.event(DELTA);
        let all = [(1, "TipChanged"), (2, "TemplateUpdated"), (3, "TemplateUpdated"), (4, "FeeDelta")];
        assert_eq!(found_by_who_attaches(&topics), all);
        // A template on the tip before stands no more.
        topics.event(NodeEvent::TipChanged(tip(2)));
        assert_eq!(found_by_who_attaches(&topics), [(5, "TipChanged")]);
        assert_eq!(topics.hosts.mining.next_sequence(), 6, "nobody's attaching has published anything");
    }

    #[test]
    fn what_stands_is_sent_again_to_who_attaches_long_after_it_even_once_it_was_lapped() {
        let topics = topics();
        topics.event(NodeEvent::TipChanged(tip(1)));
        topics.event(NodeEvent::TemplateUpdated(template(7)));
        (2..NEAR_MESSAGES).for_each(|_| topics.event(DELTA));
        assert_eq!(found_by_who_attaches(&topics).len() as u64, NEAR_MESSAGES);
        topics.event(DELTA);
        let again = NEAR_MESSAGES + 2;
        let repeated = [(again, "TipChanged"), (again + 1, "TemplateUpdated")];
        assert_eq!(found_by_who_attaches(&topics), repeated);
        assert_eq!(found_by_who_attaches(&topics), repeated, "near enough now");
        (0..=Mining::GEOMETRY.depth).for_each(|_| topics.event(DELTA));
        let again = again + 3 + u64::from(Mining::GEOMETRY.depth);
        assert_eq!(found_by_who_attaches(&topics), [(again, "TipChanged"), (again + 1, "TemplateUpdated")]);
        let mut mining = subscribe::<Mining>(&topics, again);
        let sample = mining.poll().unwrap().unwrap();
        let MiningEvent::TipChanged(found) = sample.event().unwrap() else { panic!("another kind") };
        assert_eq!((found.hash, found.height.to_native()), ([1; 32], 1), "the tip as it was");
        let sample = mining.poll().unwrap().unwrap();
        let MiningEvent::TemplateUpdated(found) = sample.event().unwrap() else { panic!("another kind") };
        assert_eq!(found.template_id, 7);
    }

    #[test]
    fn what_stands_is_sent_again_for_as_little_as_it_is_far_away_and_not_after_the_close() {
        let topics = topics();
        topics.event(NodeEvent::TipChanged(tip(1)));
        topics.event(NodeEvent::TemplateUpdated(template(1)));
        (0..NEAR_MESSAGES).for_each(|_| topics.event(DELTA));
        let before = topics.hosts.mining.next_sequence();
        (0..1_000).for_each(|_| drop(topics.start_sequences(&[Mining::NUMBER])));
        assert_eq!(topics.hosts.mining.next_sequence(), before + 2, "however often it is asked for");
        (0..NEAR_MESSAGES).for_each(|_| topics.event(DELTA));
        let before = topics.hosts.mining.next_sequence();
        topics.close();
        assert_eq!(topics.start_sequences(&[Mining::NUMBER]), [(Mining::NUMBER, before)]);
        assert_eq!(topics.hosts.mining.next_sequence(), before);
    }

    #[test]
    fn all_topics_close_together() {
        let topics = topics();
        topics.close();
        for topic in TOPICS {
            let is_closed =
                blvm_bus::with_topic!(topic.number, T => subscribe::<T>(&topics, 1).poll().is_err());
            assert_eq!(is_closed, Some(true), "{}", topic.name);
        }
    }
}
