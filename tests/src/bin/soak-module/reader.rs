//! The roles of a module that reads: every message of every topic, through the SDK.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use blvm_sdk::{
    Body, Chain, ChainEvent, Feed, Mempool, Missed, Peers, Received, Session, System, TooManyLeases, Topic,
    Topics, Wait,
};

use crate::report::Report;
use crate::soak::content::{self, ChainContent, next_random};
use crate::soak::schedule::Role;
use crate::{DIED, Failed, Part, check};

/// Messages taken from one topic before the next one has its turn.
const TURN: usize = 2_000;

/// How often the account is written.
const ACCOUNT_INTERVAL: Duration = Duration::from_millis(500);

/// Longest time a reader holds a body until it looks again.
const HOLD: Duration = Duration::from_millis(60);

/// Longest sleep of a module that sleeps.
const SLEEP: Duration = Duration::from_millis(1_500);

/// A body held, to be looked at again.
struct Held {
    sequence: u64,
    body: blvm_bus::lease::LeasedBody<blvm_bus::memory::Mapped, blvm_bus::memory::Mapped>,
    since: Instant,
    until: Instant,
}

struct Reader {
    report: Report,
    held: VecDeque<Held>,
    random: u64,
    /// The last of the test's messages in `system`, and what was missed until then.
    last_system: Option<(u64, u64)>,
    wanted: Vec<(u64, usize)>,
}

/// Reads until the topics are closed, or the role changes to one that is played by hand.
pub(crate) fn play(part: Part) -> Result<(), Failed> {
    let topics = Topics::new().with::<Chain>().with::<Mempool>().with::<Peers>().with::<System>();
    let mut session = Session::attach(topics, Wait::Park)?;
    let mut chain = session.feed::<Chain>()?;
    let mut mempool = session.feed::<Mempool>()?;
    let mut peers = session.feed::<Peers>()?;
    let mut system = session.feed::<System>()?;
    let mut written = Instant::now();
    let mut playing = (part.role(), Instant::now());
    let mut reader = Reader {
        report: Report::default(),
        held: VecDeque::new(),
        random: content::mix(&[part.schedule.seed, part.index as u64, u64::from(std::process::id())]),
        last_system: None,
        wanted: Vec::new(),
    };
    let life = Duration::from_millis(100 + next_random(&mut reader.random) % 900);
    let end = loop {
        let role = part.role();
        if playing.0 != role {
            playing = (role, Instant::now());
        }
        let taken = reader.drain(&mut chain, |reader, sample| reader.take_chain(role, sample))
            + reader.drain(&mut mempool, |_, sample| {
                let event = sample.event().map_err(|error| error.to_string())?;
                check::mempool(sample.sequence(), &event)
            })
            + reader.drain(&mut peers, |_, sample| {
                let event = sample.event().map_err(|error| error.to_string())?;
                check::peers(sample.sequence(), &event)
            })
            + reader.drain(&mut system, Reader::take_system);
        reader.look_again(role, false);
        reader.fetch(&mut session)?;
        if written.elapsed() > ACCOUNT_INTERVAL {
            reader.report.write("running")?;
            written = Instant::now();
        }
        if chain.is_closed() && mempool.is_closed() && peers.is_closed() && system.is_closed() {
            break "closed";
        }
        match role {
            Role::Exit if playing.1.elapsed() > life => {
                reader.report.write("running")?;
                // Without running the destructors that would end the leases.
                std::process::exit(DIED);
            }
            Role::Churn if playing.1.elapsed() > life => break "left",
            Role::Sleep => std::thread::sleep(SLEEP.mul_f64(reader.chance().powi(4))),
            role if role.is_by_hand() => break "left",
            _ => {}
        }
        if taken == 0 {
            session.wait(&[&chain, &mempool, &peers, &system])?;
        }
    };
    reader.look_again(Role::Read, true);
    reader.report.write(end)?;
    session.finish(&[&chain, &mempool, &peers, &system])?;
    Ok(())
}

impl Reader {
    fn chance(&mut self) -> f64 {
        (next_random(&mut self.random) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Takes what a feed holds now, some of it; answers how many messages that were.
    fn drain<T: Topic>(
        &mut self,
        feed: &mut Feed<T>,
        mut take: impl FnMut(&mut Self, &Received<'_, T>) -> Result<(), String>,
    ) -> usize {
        for taken in 0..TURN {
            match feed.poll() {
                Ok(Some(sample)) => {
                    let account = self.report.accounts.entry(T::NUMBER).or_default();
                    let in_step = account.receive(sample.sequence());
                    self.report.check(in_step.map_err(|error| format!("{}: {error}", T::NAME)));
                    let outcome = take(self, &sample);
                    self.report.check(outcome);
                }
                Ok(None) => return taken,
                Err(Missed { messages }) => {
                    self.report.accounts.entry(T::NUMBER).or_default().miss(messages);
                }
            }
        }
        TURN
    }

    fn take_chain(&mut self, role: Role, sample: &Received<'_, Chain>) -> Result<(), String> {
        let sequence = sample.sequence();
        let event = sample.event().map_err(|error| error.to_string())?;
        check::chain(sequence, &event)?;
        let content = content::chain(content::key(Chain::NUMBER, sequence));
        if role != Role::Hoard {
            self.look_again(role, false);
        }
        match sample.body() {
            Ok(Body::None) if matches!(event, ChainEvent::BlockDisconnected(_)) => self.report.without += 1,
            Ok(Body::None) => return Err(format!("sequence {sequence} has no body and should have one")),
            Ok(Body::Copied(_)) => return Err(format!("sequence {sequence} was not read under a lease")),
            Ok(Body::Gone) if content::is_beyond_a_term(content) => {
                self.report.beyond += 1;
                self.want(sequence, content);
            }
            Ok(Body::Gone) => {
                self.report.gone += 1;
                self.want(sequence, content);
            }
            Ok(Body::InPlace(body)) => {
                self.report.in_place += 1;
                check::chain_body(sequence, body.bytes())?;
                // One lease stays free, or most bodies could not be looked at even once.
                if role == Role::Hoard || self.held.is_empty() {
                    let hold = if role == Role::Hoard { Duration::MAX } else { HOLD.mul_f64(self.chance()) };
                    let since = Instant::now();
                    let until = since.checked_add(hold).unwrap_or(since + Duration::from_secs(3600));
                    self.held.push_back(Held { sequence, body, since, until });
                }
            }
            Err(TooManyLeases { .. }) => self.report.refused += 1,
        }
        Ok(())
    }

    /// Remembers a body to be fetched by request, now and then.
    fn want(&mut self, sequence: u64, content: ChainContent) {
        if let ChainContent::Block { raw_bytes, .. } = content
            && self.wanted.is_empty()
            && next_random(&mut self.random).is_multiple_of(16)
        {
            self.wanted.push((sequence, raw_bytes));
        }
    }

    /// Repairs: what was gone is fetched by request.
    fn fetch(&mut self, session: &mut Session) -> Result<(), Failed> {
        let Some((sequence, raw_bytes)) = self.wanted.pop() else { return Ok(()) };
        let height = u32::try_from(sequence)?;
        match session.client().block_by_height(height)? {
            Some(block) => {
                self.report.check(check::block(sequence, &block.raw, raw_bytes));
                self.report.fetched += 1;
            }
            None => self.report.fault(&format!("the node does not know block {height}")),
        }
        Ok(())
    }

    /// Bodies that have been held for their time must still be what they were, to the last byte.
    fn look_again(&mut self, role: Role, all: bool) {
        let now = Instant::now();
        let is_due =
            |held: &Held| all || (held.until <= now || (role != Role::Hoard && held.until > now + HOLD));
        while let Some(held) = self.held.pop_front_if(|held| is_due(held)) {
            let outcome = check::chain_body(held.sequence, held.body.bytes());
            self.report.check(outcome.map_err(|what| format!("changed under its lease: {what}")));
            self.report.second_looks += 1;
            let held_ms = held.since.elapsed().as_millis() as u64;
            self.report.longest_held_ms = self.report.longest_held_ms.max(held_ms);
        }
    }

    /// The test's messages are numbered: none between two received is left out but those missed.
    fn take_system(&mut self, sample: &Received<'_, System>) -> Result<(), String> {
        let event = sample.event().map_err(|error| error.to_string())?;
        let Some(number) = check::system(sample.sequence(), &event)? else { return Ok(()) };
        let missed = self.report.accounts.get(&System::NUMBER).map_or(0, |account| account.missed);
        if let Some((last, missed_then)) = self.last_system.replace((number, missed)) {
            let most = last + 1 + (missed - missed_then);
            if !(last + 1..=most).contains(&number) {
                return Err(format!(
                    "system: message {number} follows {last}, with {} missed",
                    missed - missed_then
                ));
            }
        }
        Ok(())
    }
}
