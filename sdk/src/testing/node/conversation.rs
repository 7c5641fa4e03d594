//! One request of a module after another, from hello on.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::lease::page::OfferedLeasePage;
use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::request::{
    Attached, FrameHead, Hello, MetricsRequest, PROTOCOL_VERSION, Refusal, Reply, Request, Token, TopicGrant,
    TopicStart, Welcome,
};
use blvm_bus::wake::wake_socket_pair;

use super::{DEADLINE, IS_ANSWERING, Inner, NETWORK, TestNode};
use crate::testing::bus::LEASES;
use crate::testing::party::{Party, Stage, request_in};
use crate::testing::script::Answer;

impl Inner {
    /// Takes a request: the answer and the descriptors that go with it; `None` to end the connection.
    pub(crate) fn take(
        self: &Arc<Self>,
        party: &Arc<Party>,
        head: FrameHead,
        body: &[u8],
    ) -> (Option<Reply>, Vec<OwnedFd>) {
        let answered = match request_in(body) {
            Ok(Request::Hello(hello)) => match self.hello(party, &hello) {
                Ok((welcome, descriptors)) => return (Some(Reply::Welcome(welcome)), descriptors),
                Err(refusal) => Err(refusal),
            },
            Ok(Request::Authenticate { token }) => {
                authenticate(party, &token).map(|()| Some(Reply::Authenticated))
            }
            Ok(Request::Mapped) => self.mapped(party).map(|attached| Some(Reply::Attached(attached))),
            Ok(request) => self.asked(party, head, request),
            Err(refusal) => Err(refusal),
        };
        (answered.unwrap_or_else(|refusal| Some(Reply::Refused(refusal))), Vec::new())
    }

    fn asked(
        self: &Arc<Self>,
        party: &Arc<Party>,
        head: FrameHead,
        request: Request,
    ) -> Result<Option<Reply>, Refusal> {
        if !matches!(party.state().stage, Stage::Attached) {
            return Err(out_of_turn("this request", "before the module is attached"));
        }
        if let Request::ReportStatistics(statistics) = request {
            party.state().reports.push(statistics);
            return Ok(Some(Reply::Noted));
        }
        party.state().requests.push(request.clone());
        party.grants.check(&request).inspect_err(|refusal| {
            // A report that the runtime makes by itself is nothing that the module could miss, and who attaches by path has no
            // manifest to add anything to.
            let is_report =
                matches!(&request, Request::Metrics(asked) if matches!(**asked, MetricsRequest::Report { .. }));
            if !is_report && party.token.is_none() {
                party.state().denied.push(format!("{}: {refusal}", request.name()));
            }
        })?;
        let asked = Duration::from_millis(u64::from(head.deadline_ms));
        let deadline = if asked.is_zero() { DEADLINE } else { asked };
        let answer = self.script.find(&request).map_or(Answer::Usual, |answer| {
            // The test has ended: nobody waits for an answer.
            let Some(handle) = self.handle.get().and_then(Weak::upgrade) else { return Answer::HangUp };
            IS_ANSWERING.set(true);
            let answer = answer(&TestNode { handle }, &request);
            IS_ANSWERING.set(false);
            answer
        });
        match answer {
            Answer::Reply(reply) => Ok(Some(*reply)),
            Answer::Refuse(refusal) => Err(refusal),
            Answer::Usual => Ok(Some(self.answer(Some(party), &request, deadline))),
            Answer::Late => Err(Refusal::Deadline { deadline_ms: deadline.as_millis() as u32 }),
            Answer::HangUp => Ok(None),
        }
    }

    fn hello(&self, party: &Party, hello: &Hello) -> Result<(Welcome, Vec<OwnedFd>), Refusal> {
        match (&party.state().stage, &party.token) {
            (Stage::Fresh, None) | (Stage::Known, _) => {}
            (Stage::Fresh, Some(_)) => return Err(out_of_turn("hello", "before the token is shown")),
            _ => return Err(out_of_turn("hello", "twice")),
        }
        if (hello.protocol_version, hello.layout_version) != (PROTOCOL_VERSION, LAYOUT_VERSION) {
            return Err(Refusal::Version {
                node_protocol: PROTOCOL_VERSION,
                module_protocol: hello.protocol_version,
                node_layout: LAYOUT_VERSION,
                module_layout: hello.layout_version,
            });
        }
        let mut world = self.world();
        let is_shut = world.is_shut;
        let bus = world.bus.as_mut().filter(|_| !is_shut).ok_or_else(|| failed("the node is down"))?;
        let (mut topics, mut grants, mut descriptors) = (Vec::new(), Vec::new(), Vec::new());
        for wish in &hello.topics {
            party.grants.check_topic(wish.topic)?;
            let host = bus.any_host(wish.topic).ok_or(Refusal::UnknownTopic { topic: wish.topic })?;
            let schema = host.segment().identity.schema;
            if schema != wish.schema {
                return Err(Refusal::Schema { topic: wish.topic, node: schema, module: wish.schema });
            }
            if !topics.contains(&wish.topic) {
                topics.push(wish.topic);
                grants.push(TopicGrant { topic: wish.topic, schema, kinds: party.grants.kinds(wish.topic) });
                descriptors
                    .push(host.segment().open_for_module().map_err(|error| failed(&error.to_string()))?);
            }
        }
        let may_lease = party.token.is_none() && topics.contains(&Chain::NUMBER);
        let place = may_lease.then(|| bus.table.promise().ok()).flatten();
        let page = match place {
            Some(place) => {
                let page = OfferedLeasePage::create();
                let page = page.map_err(|error| Refusal::LeasePage { reason: error.to_string() })?;
                let sent =
                    page.descriptor().try_clone_to_owned().map_err(|error| failed(&error.to_string()))?;
                descriptors.push(sent);
                Some((page, place))
            }
            None => None,
        };
        let mut wake = None;
        if party.token.is_some() {
            let (node, module) = wake_socket_pair().map_err(|error| failed(&error.to_string()))?;
            descriptors.push(module);
            wake = Some(node);
        }
        let welcome = Welcome {
            run_id: bus.run_id.0,
            node_version: env!("CARGO_PKG_VERSION").to_owned(),
            network: NETWORK.to_owned(),
            topics: grants,
            leases: if page.is_some() { LEASES } else { 0 },
            config: party.config.clone(),
            module: if party.token.is_some() { String::new() } else { party.module.name.clone() },
            config_origins: Vec::new(),
        };
        let mut state = party.state();
        state.stage = Stage::Welcomed { topics, page };
        state.wake = state.wake.take().or(wake);
        drop(state);
        Ok((welcome, descriptors))
    }

    /// The module has mapped its page: it is sealed and entered before the module is told so.
    fn mapped(&self, party: &Party) -> Result<Attached, Refusal> {
        let mut world = self.world();
        let mut state = party.state();
        let Stage::Welcomed { topics, page } = std::mem::take(&mut state.stage) else {
            return Err(out_of_turn("mapped", "without a hello before it"));
        };
        let wake = state.wake.take();
        let bus = world.bus.as_mut().ok_or_else(|| failed("the node is down"))?;
        if let Some((page, place)) = page {
            let page = page.seal().map_err(|error| Refusal::LeasePage { reason: error.to_string() })?;
            state.page = Some(place.enter(page, LEASES));
        }
        state.waker_client = wake.map(|wake| (Arc::clone(&bus.waker), bus.waker.add(wake, topics.clone())));
        let start = |topic: &u32| TopicStart { topic: *topic, sequence: world.start_sequence(*topic) };
        let starts = topics.iter().map(start).collect();
        state.stage = Stage::Attached;
        Ok(Attached { starts, loaded: world.loaded.clone() })
    }
}

fn authenticate(party: &Party, shown: &Token) -> Result<(), Refusal> {
    let mut state = party.state();
    match &party.token {
        Some(token) if matches!(state.stage, Stage::Fresh) && token == shown => {
            state.stage = Stage::Known;
            Ok(())
        }
        Some(_) if matches!(state.stage, Stage::Fresh) => Err(Refusal::Token { tries_left: 0 }),
        _ => Err(out_of_turn("authenticate", "where the token is not asked for")),
    }
}

fn failed(reason: &str) -> Refusal {
    Refusal::Node { reason: reason.to_owned() }
}

fn out_of_turn(request: &str, state: &str) -> Refusal {
    Refusal::OutOfTurn { request: request.to_owned(), state: state.to_owned() }
}
