//! What is compared: every row of the design's budgets, and what is recorded beside them.

use crate::side::Side;

/// Sides that are measured in the same rounds, and the comparisons between them.
#[derive(Debug, Clone)]
pub struct Group {
    /// What is measured, for people.
    pub title: String,
    /// The programs that run, in this order, in every round.
    pub sides: Vec<Side>,
    /// What is compared.
    pub comparisons: Vec<Comparison>,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Its name.
    pub name: String,
    /// Index of our side in the group.
    pub ours: usize,
    /// What it is held against.
    pub against: Against,
    /// Which figure.
    pub metric: Metric,
    /// What the ratio may be.
    pub budget: Budget,
}

/// What our figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Against {
    /// The side of this index.
    Side(usize),
    /// Half the round trip of a cache line, from the same run, and 45 ns.
    HalfLine,
    /// A number in the metric's unit.
    Value(f64),
}

/// Which figure of a line; the text is its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Nanoseconds, or what the name says: less is better, the ratio is ours over the peer's.
    Time(&'static str),
    /// Nanoseconds too, but the ratio says how many times faster ours is.
    Speed(&'static str),
    /// Messages a second: more is better, the ratio is our rate over the peer's. Shown as nanoseconds per message.
    Rate(&'static str),
}

impl Metric {
    /// The field.
    pub fn key(self) -> &'static str {
        match self {
            Metric::Time(key) | Metric::Speed(key) | Metric::Rate(key) => key,
        }
    }
}

/// What a ratio may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// There is none: recorded.
    None,
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Budget::AtMost(most) => write!(f, "<= {most}"),
            Budget::AtLeast(least) => write!(f, ">= {least}"),
            Budget::None => f.write_str("-"),
        }
    }
}

const P50: Metric = Metric::Time("p50_ns");
const RATE: Metric = Metric::Rate("messages_per_s");

/// States of subscribers in which publishing is priced.
const STATES: [&str; 5] = ["spinning", "parked", "stopped", "dead", "hostile"];

/// How much is measured in a round.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Numbers of messages are multiplied by this.
    pub scale: u64,
}

/// All groups.
pub fn groups(effort: Effort) -> Vec<Group> {
    let mut groups = vec![];
    groups.extend([32, 96].map(|bytes| small(effort, bytes)));
    groups.extend([128, 1_024, 65_536].map(|bytes| middle(effort, bytes)));
    groups.extend(
        [(1 << 20, "header"), (1 << 20, "all"), (4 << 20, "header")].map(|(b, t)| large(effort, b, t)),
    );
    groups.extend([96, 128].map(|bytes| small_throughput(effort, bytes)));
    groups.extend([1_024, 65_536, 1 << 20].map(|bytes| throughput(effort, bytes)));
    groups.push(publish_cost(effort));
    groups.push(wake(effort));
    groups.push(isolation(effort));
    groups.push(codec(effort));
    groups.push(torment(effort));
    groups.push(idle(effort));
    groups
}

impl Group {
    fn new(title: &str, sides: Vec<Side>) -> Self {
        Group { title: title.to_owned(), sides, comparisons: Vec::new() }
    }

    /// Adds a comparison of the first side with that of index `side`.
    fn against(self, name: String, side: usize, metric: Metric, budget: Budget) -> Self {
        self.compare(name, 0, Against::Side(side), metric, budget)
    }

    fn compare(
        mut self,
        name: String,
        ours: usize,
        against: Against,
        metric: Metric,
        budget: Budget,
    ) -> Self {
        self.comparisons.push(Comparison { name, ours, against, metric, budget });
        self
    }
}

fn one_way(effort: Effort, label: &str, bytes: usize, touch: &str, count: u64, interval_ns: u64) -> Side {
    let count = count * effort.scale;
    let arguments = format!("--bytes {bytes} --touch {touch} --count {count} --interval-ns {interval_ns}");
    match label {
        "bus" => Side::bus("bus", &format!("one-way --rounds 1 {arguments}")),
        peer => Side::peer(peer, &format!("one-way --system {peer} {arguments}")),
    }
}

/// Messages that fit a slot: the gates of latency.
fn small(effort: Effort, bytes: usize) -> Group {
    let spinning = |label| one_way(effort, label, bytes, "all", 50_000, 3_000);
    // They sleep in the kernel and take as long as the interval of the others.
    let sleeping = |label| one_way(effort, label, bytes, "all", 2_000, 200_000);
    let sides = vec![
        spinning("bus"),
        spinning("tango"),
        spinning("iceoryx2"),
        spinning("copy-flag"),
        sleeping("zeromq"),
        sleeping("unix-bincode"),
    ];
    let name = |peer: &str| format!("one-way-{bytes}/{peer}");
    Group::new(&format!("One way, {bytes} bytes, both sides spinning"), sides)
        .compare(name("half-line+45"), 0, Against::HalfLine, P50, Budget::AtMost(1.0))
        .against(name("tango"), 1, P50, Budget::AtMost(1.1))
        .against(name("iceoryx2"), 2, P50, Budget::AtMost(0.4))
        .against(name("copy-flag"), 3, P50, Budget::None)
        .against(name("zeromq"), 4, P50, Budget::None)
        .against(name("unix-bincode"), 5, P50, Budget::None)
}

fn middle(effort: Effort, bytes: usize) -> Group {
    let side = |label| one_way(effort, label, bytes, "all", 10_000, 2_000 + bytes as u64 / 2);
    let name = |peer: &str| format!("one-way-{bytes}/{peer}");
    let sides = ["bus", "tango", "iceoryx2", "copy-flag"].map(side).to_vec();
    Group::new(&format!("One way, {bytes} bytes, both sides spinning, every byte read"), sides)
        .against(name("tango"), 1, P50, Budget::None)
        .against(name("iceoryx2"), 2, P50, Budget::None)
        .against(name("copy-flag"), 3, P50, Budget::None)
}

/// Bodies. Only "write to visible" has a budget: reading costs what it costs.
fn large(effort: Effort, bytes: usize, touch: &str) -> Group {
    let side = |label| one_way(effort, label, bytes, touch, 400, 2_000 + bytes as u64 / 2);
    let slow = |label| one_way(effort, label, bytes, touch, 30, 10_000_000);
    let mib = bytes >> 20;
    let name = |peer: &str| format!("one-way-{mib}MiB-{touch}/{peer}");
    let gated = bytes == 1 << 20 && touch == "header";
    let budget = |most| if gated { Budget::AtMost(most) } else { Budget::None };
    // The bus goes round 144 MiB, and so does the copy it is held against. What others choose by themselves, or their
    // users would, stays in the caches.
    let hot = |label| side(label).with(&format!("--footprint-bytes {}", 8 * bytes));
    let mut sides = vec![side("bus"), side("copy-flag"), side("iceoryx2"), hot("tango")];
    sides.push(hot("copy-flag").labelled("copy-flag, hot"));
    if gated {
        sides.extend(["zeromq", "unix-bincode"].map(slow));
        // Five terms of one message each: what a body area costs that stays in the caches.
        sides.push(side("bus").with("--terms 5 --term-bytes 1114112").labelled("bus, hot"));
    }
    let read = if touch == "all" { "every byte read" } else { "head read" };
    let mut group = Group::new(&format!("One way, {mib} MiB, {read}"), sides)
        .against(name("copy-flag"), 1, P50, budget(1.05))
        .against(name("iceoryx2"), 2, P50, budget(0.75))
        .against(name("tango"), 3, P50, Budget::None)
        .against(name("copy-flag-hot"), 4, P50, Budget::None);
    if gated {
        group = group.against(name("zeromq"), 5, P50, Budget::None);
        group = group.against(name("unix-bincode"), 6, P50, Budget::None);
        let hot = |peer: &str| format!("one-way-{mib}MiB-{touch}-hot/{peer}");
        group = group.compare(hot("copy-flag-hot"), 7, Against::Side(4), P50, Budget::AtMost(1.05));
        group = group.compare(hot("iceoryx2"), 7, Against::Side(2), P50, Budget::None);
    }
    group
}

fn back_to_back(effort: Effort, label: &str, bytes: usize, count: u64) -> Side {
    let count = count * effort.scale;
    let arguments = format!("--bytes {bytes} --count {count} --batch 32");
    match label {
        "bus" => Side::bus("bus", &format!("throughput --mode lossless --rounds 1 {arguments}")),
        peer => Side::peer(peer, &format!("throughput --system {peer} {arguments}")),
    }
}

fn small_throughput(effort: Effort, bytes: usize) -> Group {
    let sides = vec![
        back_to_back(effort, "bus", bytes, 5_000_000),
        back_to_back(effort, "tango", bytes, 5_000_000),
        back_to_back(effort, "iceoryx2", bytes, 500_000),
        back_to_back(effort, "zeromq", bytes, 500_000),
        back_to_back(effort, "unix-bincode", bytes, 200_000),
    ];
    let name = |peer: &str| format!("lossless-{bytes}/{peer}");
    // What fits a slot has the budget; the next size is the one that is quoted elsewhere.
    let budget = |least| if bytes <= 96 { Budget::AtLeast(least) } else { Budget::None };
    Group::new(&format!("Messages a second, {bytes} bytes, none lost, batches of 32"), sides)
        .against(name("tango"), 1, RATE, budget(0.7))
        .against(name("iceoryx2"), 2, RATE, budget(50.0))
        .against(name("zeromq"), 3, RATE, budget(50.0))
        .against(name("unix-bincode"), 4, RATE, budget(50.0))
}

fn throughput(effort: Effort, bytes: usize) -> Group {
    let count = (400_000_000 / bytes as u64).min(300_000);
    let sides = vec![
        back_to_back(effort, "bus", bytes, count),
        back_to_back(effort, "tango", bytes, count),
        back_to_back(effort, "iceoryx2", bytes, count),
        back_to_back(effort, "zeromq", bytes, count),
        back_to_back(effort, "unix-bincode", bytes, count / 10),
    ];
    let name = |peer: &str| format!("lossless-{bytes}/{peer}");
    Group::new(&format!("Messages a second, {bytes} bytes, none lost"), sides)
        .against(name("tango"), 1, RATE, Budget::None)
        .against(name("iceoryx2"), 2, RATE, Budget::None)
        .against(name("zeromq"), 3, RATE, Budget::None)
        .against(name("unix-bincode"), 4, RATE, Budget::None)
}

/// Ours against itself, 32 subscribers against one, in turn within each run; and what the same costs iceoryx2.
fn publish_cost(effort: Effort) -> Group {
    let mut sides = vec![];
    for state in STATES {
        let arguments =
            format!("publish-cost --subscribers 1,32 --state {state} --rounds {}", 2 + effort.scale);
        sides.push(Side::bus(&format!("bus, 32 {state}"), &arguments).pick("subscribers", 32));
    }
    for subscribers in [1, 32] {
        let count = 10_000 * effort.scale;
        let arguments =
            format!("publish-cost --bytes 96 --subscribers {subscribers} --state spinning --count {count}");
        sides.push(Side::peer(&format!("iceoryx2, {subscribers} spinning"), &arguments));
    }
    let mut group = Group::new("Cost of publishing 96 bytes, by number and state of subscribers", sides);
    for (at, state) in STATES.iter().enumerate() {
        // Ratios of one run: what the machine does to one number of subscribers it does to the other. Bursts of 32 are
        // the finer measure: a clock that ticks every 10 ns costs as much as a publish. A single call to who sleeps
        // writes an eventfd, which the budget allows once a burst.
        let one = Against::Value(1.0);
        let name = format!("publish-cost-{state}/32-vs-1");
        group = group.compare(name, at, one, Metric::Time("ratio_p50"), Budget::None);
        let one = Against::Value(1.0);
        let name = format!("publish-cost-{state}-bursts/32-vs-1");
        group = group.compare(name, at, one, Metric::Time("ratio_block_p50"), Budget::AtMost(1.1));
    }
    let theirs = STATES.len();
    group
        .compare("publish-cost-32/iceoryx2".to_owned(), 0, Against::Side(theirs + 1), P50, Budget::None)
        .compare(
            "publish-cost-of-iceoryx2/32-vs-1".to_owned(),
            theirs + 1,
            Against::Side(theirs),
            P50,
            Budget::None,
        )
}

/// The gate is the bare wake in the same processes, in turn with ours; the other one has a publisher that never sleeps.
fn wake(effort: Effort) -> Group {
    let count = 300 * effort.scale;
    let ours = format!("wake --rounds 1 --count {count}");
    let theirs = format!("one-way --system socket-wake --bytes 16 --count {count} --interval-ns 1000000");
    let sides = vec![
        Side::bus("bus", &ours).pick("name", "wake"),
        Side::bus("bare wake, same processes", &ours).pick("name", "wake-bare"),
        Side::peer("socket-wake", &theirs),
    ];
    Group::new("Wake of a parked subscriber, publish to running", sides)
        .against("wake/bare-wake".to_owned(), 1, P50, Budget::AtMost(2.0))
        .against("wake/socket-wake".to_owned(), 2, P50, Budget::None)
}

/// An honest module's wakes beside one that does not behave, against its wakes alone.
fn isolation(effort: Effort) -> Group {
    let ours = format!("wake-isolation --rounds 1 --count {}", 100 * effort.scale);
    let states = ["alone", "steal", "flood", "mute"];
    let sides = states.map(|state| Side::bus(&format!("bus, {state}"), &ours).pick("state", state));
    let mut group = Group::new("Wake of a parked subscriber beside a hostile one", sides.to_vec());
    for (at, state) in states.iter().enumerate().skip(1) {
        let name = format!("wake-isolation-{state}/alone");
        group = group.compare(name, at, Against::Side(0), P50, Budget::AtMost(1.2));
    }
    group
}

fn codec(effort: Effort) -> Group {
    let count = 100 * effort.scale;
    let sides = vec![
        Side::peer("bus", &format!("codec --way flat --count {count}")),
        Side::peer("bincode", &format!("codec --way nested --count {count}")),
    ];
    Group::new("A block of 2,500 transactions: encode, make usable, read every txid", sides).against(
        "codec/bincode".to_owned(),
        1,
        Metric::Speed("p50_ns"),
        Budget::AtLeast(50.0),
    )
}

/// Ours against itself: tormented, and left alone.
fn torment(effort: Effort) -> Group {
    let arguments = format!("torment --rounds 1 --count {}", 250 * effort.scale);
    let side = |topic: &'static str, state: &'static str| {
        let label = if state == "none" { format!("{topic}, calm") } else { format!("{topic}, tormented") };
        Side::bus(&label, &arguments).pick("topic", topic).pick("state", state)
    };
    let mut group = Group::new("Publishing while modules torment the node", vec![]);
    for (at, topic) in ["all", "mempool", "chain"].into_iter().enumerate() {
        group.sides.extend([side(topic, "tormented"), side(topic, "none")]);
        let budget = |most| if topic == "all" { Budget::AtMost(most) } else { Budget::None };
        for (name, metric, most) in [
            ("p50", P50, 1.1),
            ("mean", Metric::Time("mean_ns"), 1.5),
            ("p99.9", Metric::Time("p999_ns"), 1.5),
        ] {
            let name = format!("torment-{topic}-{name}/calm");
            group = group.compare(name, 2 * at, Against::Side(2 * at + 1), metric, budget(most));
        }
    }
    group
}

/// "No measurable CPU": less than a thousandth of a core.
fn idle(effort: Effort) -> Group {
    let seconds = 3 * effort.scale;
    let side = Side::bus("bus", &format!("idle --seconds {seconds}"));
    Group::new("Milliseconds of CPU of an idle node and 32 parked modules", vec![side]).compare(
        "idle-cpu-ms/a-thousandth-of-a-core".to_owned(),
        0,
        Against::Value(seconds as f64),
        Metric::Time("cpu_ms"),
        Budget::AtMost(1.0),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_index_names_a_side() {
        let groups = groups(Effort { scale: 1 });
        let mut names = HashSet::new();
        for group in &groups {
            for comparison in &group.comparisons {
                assert!(names.insert(comparison.name.clone()), "{} twice", comparison.name);
                assert!(comparison.ours < group.sides.len());
                if let Against::Side(peer) = comparison.against {
                    assert!(peer < group.sides.len() && peer != comparison.ours);
                }
            }
        }
    }
}
