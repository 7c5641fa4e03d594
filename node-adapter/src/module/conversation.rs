//! One party's requests, in order, from hello on.
//!
//! Who asks is known by the socket: the node gave it to the process it started, or its other end has shown the token. No
//! name in a request counts. Every refusal leaves the connection open. While a request is at work on a thread of its own,
//! calls and what answers them go on.

mod modules;
#[cfg(test)]
pub(super) mod tests;
mod work;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::lease::Place;
use blvm_bus::lease::page::OfferedLeasePage;
use blvm_bus::memory::Mapped;
use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::request::{
    Attached, FrameHead, Hello, MetricSeries, MetricsReply, MetricsRequest, MiningRequest, PROTOCOL_VERSION,
    Permission, Refusal, Reply, Request, TopicGrant, WatchEvents, WatchReply, WatchRequest, Welcome,
    close_elsewhere, decode,
};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use super::answer::{ask, is_long};
use super::audit::Decision;
use super::calls::Outgoing;
use super::codec::{FrameReader, Incoming};
use super::flight::{Flight, InFlight};
use super::host::Shared;
use super::limits::{AUDIT_INTERVAL, LOG_INTERVAL, Pace, RefusalLog, RequestLimits};
use super::party::Party;
use super::reply::{Prepared, ReplyWriter};
use crate::plain::one_line;
use crate::source::CoinbaseConstraints;
use crate::topics::access;
use crate::watch::Watches;
use modules::Quota;
use work::{Asked, Done, Work};

/// Most topics in a module's report.
const MAX_REPORTED_TOPICS: usize = 16;

/// Longest name of a way to wait in a module's report.
const MAX_WAIT_BYTES: usize = 32;

/// Longest refusal in the node's log.
const MAX_LOGGED_BYTES: usize = 512;

/// How far the conversation has come.
#[derive(Debug)]
enum Stage {
    /// Nothing was agreed.
    Fresh,
    /// The module has its descriptors and is mapping them.
    Welcomed { topics: Vec<u32>, page: Option<(OfferedLeasePage, Place<Mapped>)> },
    /// Everything may be asked.
    Attached,
}

/// Serves one module until its end of the socket closes.
pub(super) async fn serve(socket: UnixStream, party: Arc<dyn Party>, shared: Arc<Shared>) -> io::Result<()> {
    let socket = Arc::new(socket);
    let writer = ReplyWriter::new(Arc::clone(&socket), None, &shared.limits);
    let reader = FrameReader::new(frame_limit(&*party, &shared.limits));
    let outcome = Conversation::new(writer, party, shared, None).go_on(&socket, reader).await;
    // The module may have left descriptors in it that are slow to close.
    if let Some(Ok(socket)) = Arc::into_inner(socket).map(UnixStream::into_std) {
        close_elsewhere(socket);
    }
    outcome
}

/// One party's side of the protocol, as the node keeps it.
pub(super) struct Conversation {
    stage: Stage,
    /// By when it must be attached.
    attach_by: Option<Instant>,
    work: Work,
    writer: ReplyWriter,
    party: Arc<dyn Party>,
    /// Number of the party in this run, from 1.
    number: u64,
    /// A `watch_next` that has no answer yet.
    waiting: Option<Waiting>,
    /// Calls to other modules that have no answer yet; the head of the request, the answer, and its place in flight.
    calls_out: JoinSet<(FrameHead, Reply, InFlight)>,
    pace: Pace,
    /// Before then no frame is read or taken: they have come faster than they may.
    read_at: Option<Instant>,
    flight: Flight,
    quota: Quota,
    refusals: RefusalLog,
    denials: RefusalLog,
    /// Whether it has said what a coinbase must have room for.
    has_constraints: bool,
    shared: Arc<Shared>,
}

/// A `watch_next` that waits.
struct Waiting {
    correlation: u64,
    limit: u32,
    until: Instant,
    notify: Arc<Notify>,
    _place: InFlight,
}

impl Waiting {
    /// What there is, as soon as there is something; nothing once the time is over. Cancel-safe.
    async fn events(&self, watches: &Watches, number: u64) -> WatchEvents {
        loop {
            if let Some(events) = watches.take(number, self.limit) {
                return events;
            }
            if tokio::time::timeout_at(self.until, self.notify.notified()).await.is_err() {
                return WatchEvents { events: Vec::new(), loss: None };
            }
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Conversation {
    pub(super) fn new(
        writer: ReplyWriter,
        party: Arc<dyn Party>,
        shared: Arc<Shared>,
        attach_by: Option<Instant>,
    ) -> Self {
        // Relaxed: numbers need only differ.
        let number = shared.parties.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        Conversation {
            stage: Stage::Fresh,
            attach_by,
            work: Work::new(shared.limits.frame_bytes),
            writer,
            party,
            number,
            waiting: None,
            calls_out: JoinSet::new(),
            pace: Pace::new(&shared.limits, now),
            read_at: None,
            flight: Flight::new(&shared.limits),
            quota: Quota::new(&shared.limits, now),
            refusals: RefusalLog::new(LOG_INTERVAL, now),
            denials: RefusalLog::new(AUDIT_INTERVAL, now),
            has_constraints: false,
            shared,
        }
    }

    /// Answers until the other side ends, or does not attach in time; then takes back what the party has set.
    pub(super) async fn go_on(mut self, socket: &UnixStream, reader: FrameReader) -> io::Result<()> {
        let outcome = self.serve(socket, reader).await;
        self.leave();
        // It may still set something; and coming back must be no way to have more than one at work.
        self.work.end().await;
        let untold = self.refusals.untold();
        if untold > 0 {
            tracing::warn!(module = self.party.name(), untold, "more requests were refused");
        }
        let untold = self.denials.untold();
        if untold > 0 {
            let decision = Decision::DeniedMore { count: untold };
            self.shared.audit.tell(self.party.name(), self.party.pid(), decision);
        }
        if self.has_constraints {
            let (node, number) = (Arc::clone(&self.shared.node), self.number);
            // The node may be busy: not on the threads that serve everybody.
            let take_back = move || node.set_coinbase_constraints(number, CoinbaseConstraints::default());
            if let Ok(Err(error)) = spawn_blocking(take_back).await {
                tracing::warn!(module = self.party.name(), %error, "coinbase constraints were not taken back");
            }
        }
        outcome
    }

    /// Nobody takes what it watched for any more, nor answers its calls.
    fn leave(&self) {
        self.shared.topics.watches.leave(self.number);
        if let Some(calls) = self.party.calls() {
            calls.close();
            self.shared.registry.leave(self.number);
        }
    }

    async fn serve(&mut self, socket: &UnixStream, mut reader: FrameReader) -> io::Result<()> {
        let party = Arc::clone(&self.party);
        loop {
            // What a process leaves in its socket changes nothing once it has exited.
            if party.calls().is_some_and(|calls| calls.is_closed()) {
                return Ok(());
            }
            if let Some(asked) = self.work.take_next() {
                self.begin(asked);
            }
            if self.read_at.is_none()
                && let Some((head, body)) = self.work.take_kept()
            {
                self.take(head, body.as_deref()).await?;
                continue;
            }
            // All may be dropped and begun again: what was read of a frame stays in the reader, what was sent of one is
            // counted by the writer.
            let attach_by = self.attach_by.filter(|_| !matches!(self.stage, Stage::Attached));
            let incoming = tokio::select! {
                biased;
                // Looked at first: frames that come without a pause must not stretch it.
                () = late(attach_by) => return Err(io::ErrorKind::TimedOut.into()),
                sent = self.writer.flush(), if self.writer.is_sending() => {
                    sent?;
                    continue;
                }
                call = next_call(&*party), if !self.writer.is_sending() => {
                    self.writer.begin_call(call.number, call.deadline_ms(), &call.archive);
                    continue;
                }
                done = self.work.done() => {
                    self.tell(done).await?;
                    continue;
                }
                (correlation, events) = watched(self.waiting.as_ref(), &self.shared.topics.watches, self.number) => {
                    let _answered = self.waiting.take();
                    let reply = Reply::Watch(Box::new(WatchReply::Events(events)));
                    self.writer.send(correlation, &reply, &[]).await?;
                    continue;
                }
                Some(called) = self.calls_out.join_next() => {
                    match called {
                        Ok((head, Reply::Refused(refusal), _place)) => self.refuse(head, refusal).await?,
                        Ok((head, reply, _place)) => self.writer.send(head.correlation, &reply, &[]).await?,
                        Err(error) => tracing::error!(module = party.name(), %error, "calling a module failed"),
                    }
                    continue;
                }
                () = until(self.read_at) => {
                    self.read_at = None;
                    continue;
                }
                incoming = reader.next(socket, party.name()), if self.read_at.is_none() && self.work.has_room() => incoming?,
            };
            match incoming {
                None => return Ok(()),
                Some(Incoming::TooLarge(head)) if head.is_call => self.answered(head, None),
                Some(Incoming::Frame { head, body }) if head.is_call => self.answered(head, Some(&body)),
                Some(Incoming::TooLarge(head)) => self.work.keep(head, None),
                Some(Incoming::Frame { head, body }) => self.work.keep(head, Some(body)),
            }
        }
    }

    /// Counts one frame. Who sends more than it may is read no faster than it may send, and the frame is refused.
    fn keep_pace(&mut self) -> Result<(), Refusal> {
        let now = Instant::now();
        let taken = self.pace.take(now);
        if let Err(Refusal::Rate { retry_after_ms, .. }) = &taken {
            self.read_at = Some(now + Duration::from_millis(u64::from(*retry_after_ms)));
        }
        taken
    }

    /// The party has answered a call; without a body the answer was too long to be read. What nobody waits for is counted as
    /// a request is: it must not be a way to keep the node at work for nothing.
    fn answered(&mut self, head: FrameHead, body: Option<&[u8]>) {
        let calls = self.party.calls().filter(|calls| calls.is_open(head.correlation));
        let limit_bytes = self.shared.limits.frame_bytes;
        match (calls, body) {
            (None, _) => drop(self.keep_pace()),
            // Room for a block is no room for anything else.
            (Some(calls), Some(body)) if body.len() <= limit_bytes => calls.answer(head.correlation, body),
            (Some(calls), _) => {
                calls.answer_too_long(head.correlation, u64::from(head.body_bytes), limit_bytes as u64);
            }
        }
    }

    /// It is the turn of a request; without a body its frame was too long.
    async fn take(&mut self, head: FrameHead, body: Option<&[u8]>) -> io::Result<()> {
        let paced = self.keep_pace();
        let Some(body) = body else {
            // Says more than that it came too fast.
            let found_bytes = u64::from(head.body_bytes);
            let limit_bytes = frame_limit(&*self.party, &self.shared.limits) as u64;
            return self.refuse(head, Refusal::TooLarge { found_bytes, limit_bytes }).await;
        };
        let place = match paced.and_then(|()| self.flight.take(body.len() as u64)) {
            Ok(place) => place,
            Err(refusal) => return self.refuse(head, refusal).await,
        };
        let request = match decode::<Request>(body) {
            Ok(request) => request,
            Err(error) => {
                return self.refuse(head, Refusal::Malformed { reason: error.reason }).await;
            }
        };
        match request {
            Request::Hello(hello) => self.hello(head, hello).await,
            Request::Authenticate { .. } => {
                self.refuse(head, out_of_turn("authenticate", "where the token is not asked for")).await
            }
            Request::Mapped => match self.mapped() {
                Ok(attached) => self.writer.send(head.correlation, &Reply::Attached(attached), &[]).await,
                Err(refusal) => self.refuse(head, refusal).await,
            },
            _ if !matches!(self.stage, Stage::Attached) => {
                self.refuse(head, out_of_turn("this request", "before the module is attached")).await
            }
            Request::ReportStatistics(statistics) => {
                // It is kept and shown: no more of it than there can be to say.
                if statistics.topics.len() > MAX_REPORTED_TOPICS || statistics.wait.len() > MAX_WAIT_BYTES {
                    let reason = format!(
                        "a report has at most {MAX_REPORTED_TOPICS} topics and {MAX_WAIT_BYTES} bytes for wait"
                    );
                    return self.refuse(head, Refusal::Malformed { reason }).await;
                }
                self.party.note_statistics(statistics);
                self.writer.send(head.correlation, &Reply::Noted, &[]).await
            }
            request => {
                if let Err(refusal) = self.check(&request, body.len()) {
                    self.audit_denial(request.name(), &refusal);
                    return self.refuse(head, refusal).await;
                }
                if let Request::Watch(watch) = &request
                    && let WatchRequest::Next { limit } = **watch
                {
                    return self.wait_for_watched(head, limit, place).await;
                }
                if let Request::Modules(request) = request {
                    return self.modules(head, *request, place).await;
                }
                let request = match request {
                    Request::Metrics(metrics) => match *metrics {
                        MetricsRequest::Report { series } => return self.report_metrics(head, series).await,
                        metrics => Request::Metrics(Box::new(metrics)),
                    },
                    request => request,
                };
                self.has_constraints |= matches!(&request, Request::Mining(mining)
                    if matches!(**mining, MiningRequest::SetCoinbaseConstraints(_)));
                self.work.set_next(Asked { head, request, place });
                Ok(())
            }
        }
    }

    /// Answers once there is something, or when the deadline has passed; other requests are served meanwhile.
    async fn wait_for_watched(&mut self, head: FrameHead, limit: u32, mut place: InFlight) -> io::Result<()> {
        if self.waiting.is_some() {
            let refusal = Refusal::Limit { what: "watch_next that wait".to_owned(), limit: 1 };
            return self.refuse(head, refusal).await;
        }
        place.set_bytes(0);
        let asked = Duration::from_millis(u64::from(head.deadline_ms)).min(self.shared.limits.deadline);
        self.waiting = Some(Waiting {
            correlation: head.correlation,
            limit,
            until: Instant::now() + asked,
            notify: self.shared.topics.watches.notify(self.number),
            _place: place,
        });
        Ok(())
    }

    /// Keeps the figures that this party reports of itself.
    async fn report_metrics(&mut self, head: FrameHead, series: Vec<MetricSeries>) -> io::Result<()> {
        let has_gone = || self.party.calls().is_some_and(|calls| calls.is_closed());
        match self.shared.directory.report_metrics(self.party.name(), series, has_gone) {
            Ok(()) => {
                let reply = Reply::Metrics(Box::new(MetricsReply::Noted));
                self.writer.send(head.correlation, &reply, &[]).await
            }
            Err(refusal) => self.refuse(head, refusal).await,
        }
    }

    /// Whether this party may ask that, in a frame of that length.
    fn check(&self, request: &Request, body_bytes: usize) -> Result<(), Refusal> {
        let limit_bytes = self.shared.limits.frame_bytes;
        if body_bytes > limit_bytes && !request.is_submission() {
            let (found_bytes, limit_bytes) = (body_bytes as u64, limit_bytes as u64);
            return Err(Refusal::TooLarge { found_bytes, limit_bytes });
        }
        if let Some(needed) = request.needed_permission() {
            let may_change = self.party.may_change() || !request.changes_something();
            if !self.party.may(needed) || !may_change {
                return Err(Refusal::Denied { permission: needed.name().to_owned() });
            }
        }
        if let Some(event) = request.published_event() {
            self.may_publish(event)?;
        }
        if let Some(topic) = request.needed_topic().filter(|topic| !self.party.names_topic(*topic)) {
            let name = self.shared.topics.grant(topic).map_or("this", |grant| grant.name);
            return Err(Refusal::Unnamed { topic: name.to_owned() });
        }
        Ok(())
    }

    /// How long a request may take.
    fn deadline(&self, head: FrameHead) -> Duration {
        let asked = Duration::from_millis(u64::from(head.deadline_ms));
        let most = self.shared.limits.deadline;
        if asked.is_zero() { most } else { asked.min(most) }
    }

    /// Answers read the disk, verify scripts and may be long: not on the threads that serve everybody.
    fn begin(&mut self, Asked { head, request, place }: Asked) {
        let deadline = self.deadline(head);
        let until = Instant::now() + deadline;
        let (shared, number, held) = (Arc::clone(&self.shared), self.number, Arc::clone(self.writer.held()));
        let answer = spawn_blocking(move || {
            // Before it is made: who gives back nothing must not keep the node at work.
            if is_long(&request)
                && let Err(refusal) = held.room_for(0)
            {
                return Prepared::new(&held, &Reply::Refused(refusal));
            }
            let reply = ask(&shared, number, request);
            if Instant::now() >= until {
                return Prepared::new(&held, &Reply::Refused(past(deadline)));
            }
            Prepared::new(&held, &reply)
        });
        self.work.begin(head, deadline, until, answer, place);
    }

    /// Sends what has become of the request at work.
    async fn tell(&mut self, done: Done) -> io::Result<()> {
        match done {
            Done::Answered { head, answer: Ok(answer), place: _place } => {
                self.writer.send_prepared(head.correlation, answer, &[]).await
            }
            Done::Answered { head, answer: Err(error), place: _place } => {
                tracing::error!(module = self.party.name(), %error, "answering a request failed");
                let reason = "the answer failed, see the node's log".to_owned();
                self.writer.send(head.correlation, &Reply::Refused(Refusal::Node { reason }), &[]).await
            }
            Done::Late { head, deadline } => {
                self.writer.send(head.correlation, &Reply::Refused(past(deadline)), &[]).await
            }
            Done::Ended => Ok(()),
        }
    }

    async fn hello(&mut self, head: FrameHead, hello: Hello) -> io::Result<()> {
        if !matches!(self.stage, Stage::Fresh) {
            return self.refuse(head, out_of_turn("hello", "twice")).await;
        }
        let topics = match self.check_hello(&hello) {
            Ok(topics) => topics,
            Err(refusal) => {
                self.audit_denial("hello", &refusal);
                return self.refuse(head, refusal).await;
            }
        };
        let page = match self.offer_lease_page(&topics) {
            Ok(page) => page,
            Err(refusal) => return self.refuse(head, refusal).await,
        };
        let shared = Arc::clone(&self.shared);
        let grants: Vec<_> = topics.iter().filter_map(|topic| shared.topics.grant(*topic)).collect();
        let welcome = Welcome {
            run_id: shared.topics.run_id().0,
            node_version: env!("CARGO_PKG_VERSION").to_owned(),
            network: shared.network.clone(),
            topics: grants
                .iter()
                .map(|grant| TopicGrant {
                    topic: grant.topic,
                    schema: grant.schema,
                    kinds: self.party.kinds(grant.topic),
                })
                .collect(),
            leases: if page.is_some() { shared.topics.leases() } else { 0 },
            config: self.party.config().to_owned(),
            module: self.party.module_name().to_owned(),
            config_origins: self.party.config_origins().to_vec(),
        };
        let opened: io::Result<Vec<_>> = grants.iter().map(|grant| grant.segment.open_for_module()).collect();
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let reason = format!("no descriptors for the segments: {error}");
                return self.refuse(head, Refusal::Node { reason }).await;
            }
        };
        let wake = match self.party.offer_wake() {
            Ok(wake) => wake,
            Err(error) => {
                let reason = format!("no wake socket: {error}");
                return self.refuse(head, Refusal::Node { reason }).await;
            }
        };
        let mut descriptors: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
        descriptors.extend(page.as_ref().map(|(page, _)| page.descriptor()));
        descriptors.extend(wake.as_ref().map(AsFd::as_fd));
        self.writer.send(head.correlation, &Reply::Welcome(welcome), &descriptors).await?;
        self.stage = Stage::Welcomed { topics, page };
        Ok(())
    }

    fn check_hello(&self, hello: &Hello) -> Result<Vec<u32>, Refusal> {
        if (hello.protocol_version, hello.layout_version) != (PROTOCOL_VERSION, LAYOUT_VERSION) {
            return Err(Refusal::Version {
                node_protocol: PROTOCOL_VERSION,
                module_protocol: hello.protocol_version,
                node_layout: LAYOUT_VERSION,
                module_layout: hello.layout_version,
            });
        }
        let mut topics = Vec::new();
        for wish in &hello.topics {
            let unknown = Refusal::UnknownTopic { topic: wish.topic };
            let topic = self.shared.topics.grant(wish.topic).zip(access(wish.topic));
            let (grant, needed) = topic.ok_or(unknown)?;
            if !self.party.may(needed.permission) {
                return Err(Refusal::Denied { permission: needed.permission.name().to_owned() });
            }
            if needed.is_named && !self.party.names_topic(wish.topic) {
                return Err(Refusal::Unnamed { topic: grant.name.to_owned() });
            }
            if grant.schema != wish.schema {
                return Err(Refusal::Schema { topic: wish.topic, node: grant.schema, module: wish.schema });
            }
            if !topics.contains(&wish.topic) {
                topics.push(wish.topic);
            }
        }
        Ok(topics)
    }

    /// A lease page for readers of `chain`, as long as the scan table has room; the others get copies by request.
    fn offer_lease_page(&self, topics: &[u32]) -> Result<Option<(OfferedLeasePage, Place<Mapped>)>, Refusal> {
        if !self.party.may_lease() || !topics.contains(&Chain::NUMBER) || self.shared.topics.leases() == 0 {
            return Ok(None);
        }
        // Promised from here on: the welcome says how many leases there are, and another module may map first.
        let Ok(place) = self.shared.topics.table.promise() else { return Ok(None) };
        match OfferedLeasePage::create() {
            Ok(page) => Ok(Some((page, place))),
            Err(error) => Err(Refusal::LeasePage { reason: error.to_string() }),
        }
    }

    /// The module has mapped its page: seal it, enter it, and only then say so.
    fn mapped(&mut self) -> Result<Attached, Refusal> {
        let Stage::Welcomed { .. } = self.stage else {
            return Err(out_of_turn("mapped", "without a hello before it"));
        };
        let Stage::Welcomed { topics, page } = std::mem::replace(&mut self.stage, Stage::Fresh) else {
            return Err(out_of_turn("mapped", "without a hello before it"));
        };
        let bus = &self.shared.topics;
        let named: Vec<_> = topics.iter().filter_map(|topic| Some(bus.grant(*topic)?.name)).collect();
        let mut scanned = None;
        if let Some((page, place)) = page {
            let page = page.seal().map_err(|error| {
                tracing::warn!(module = self.party.name(), %error, "a lease page was tampered with");
                Refusal::LeasePage { reason: error.to_string() }
            })?;
            scanned = Some(place.enter(page, bus.leases()));
        }
        let Some(attached) = self.party.attach(scanned, topics) else {
            return Err(out_of_turn("mapped", "after the process has exited"));
        };
        if let Some(calls) = self.party.calls() {
            self.shared.registry.enter(self.number, calls.caller());
        }
        self.audit_grants(named);
        self.stage = Stage::Attached;
        Ok(attached)
    }

    /// Writes down with what rights the party has attached.
    fn audit_grants(&self, topics: Vec<&str>) {
        let permitted = Permission::ALL.into_iter().filter(|permission| self.party.may(*permission));
        let mut permissions: Vec<_> = permitted.map(|permission| permission.name().to_owned()).collect();
        permissions.extend(self.party.publishes().iter().map(|event| format!("publish:{event}")));
        let decision = Decision::Granted { permissions, topics };
        self.shared.audit.tell(self.party.name(), self.party.pid(), decision);
    }

    /// Writes down that the party has not the right to what it asked, if that is why it was refused.
    fn audit_denial(&mut self, request: &str, refusal: &Refusal) {
        let missing = match refusal {
            Refusal::Denied { permission } => permission.clone(),
            Refusal::Unnamed { topic } => format!("topics.{topic}"),
            _ => return,
        };
        let (audit, name, pid) = (&self.shared.audit, self.party.name(), self.party.pid());
        let logged = self.denials.note(Instant::now());
        if logged.untold > 0 {
            audit.tell(name, pid, Decision::DeniedMore { count: logged.untold });
        }
        if logged.is_told {
            audit.tell(name, pid, Decision::Denied { request, missing });
        }
    }

    async fn refuse(&mut self, head: FrameHead, refusal: Refusal) -> io::Result<()> {
        let logged = self.refusals.note(Instant::now());
        if logged.untold > 0 {
            tracing::warn!(module = self.party.name(), untold = logged.untold, "more requests were refused");
        }
        if logged.is_told {
            // It may quote what the party, or another one, has sent.
            let refusal = one_line(&refusal.to_string(), MAX_LOGGED_BYTES);
            tracing::warn!(module = self.party.name(), refusal, "a request was refused");
        }
        self.writer.send(head.correlation, &Reply::Refused(refusal), &[]).await
    }
}

/// Once it is too late to attach.
async fn late(attach_by: Option<Instant>) {
    match attach_by {
        // The runtime's clock may lag while frames come without a pause.
        Some(deadline) if Instant::now() >= deadline => {}
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Once it is time to read on.
async fn until(read_at: Option<Instant>) {
    match read_at {
        Some(read_at) => tokio::time::sleep_until(read_at).await,
        None => std::future::pending().await,
    }
}

/// The answer to a `watch_next` that waits, once there is one.
async fn watched(waiting: Option<&Waiting>, watches: &Watches, number: u64) -> (u64, WatchEvents) {
    match waiting {
        Some(waiting) => (waiting.correlation, waiting.events(watches, number).await),
        None => std::future::pending().await,
    }
}

/// What the node asks of `party` next, once it asks something.
async fn next_call(party: &dyn Party) -> Outgoing {
    match party.calls() {
        Some(calls) => calls.next().await,
        None => std::future::pending().await,
    }
}

/// The longest frame of a party: who may submit blocks, or have them checked, needs room for one.
fn frame_limit(party: &dyn Party, limits: &RequestLimits) -> usize {
    let submits = [Permission::SubmitBlock, Permission::QueueInboundBlock, Permission::MiningTemplate];
    if party.may_change() && submits.into_iter().any(|permission| party.may(permission)) {
        limits.submission_bytes.max(limits.frame_bytes)
    } else {
        limits.frame_bytes
    }
}

fn past(deadline: Duration) -> Refusal {
    Refusal::Deadline { deadline_ms: deadline.as_millis() as u32 }
}

fn out_of_turn(request: &str, state: &str) -> Refusal {
    Refusal::OutOfTurn { request: request.to_owned(), state: state.to_owned() }
}
