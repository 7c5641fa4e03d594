//! Answers that a test programs, request by request.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, PoisonError};

use blvm_bus::request::{
    ChainReply, MempoolReply, MiningReply, ModulesReply, NetworkReply, Refusal, Reply, Request, WatchReply,
};

use super::TestNode;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This is answered, whatever it is: also what no node would say.
    Reply(Box<Reply>),
    /// It is refused.
    Refuse(Refusal),
    /// What the node answers where nothing was programmed.
    Usual,
    /// The node was not done within the request's deadline: refused so, at once.
    Late,
    /// The node closes the connection instead.
    HangUp,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Answer::Reply(Box::new(reply))
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Answer::Refuse(refusal)
    }
}

macro_rules! from_replies {
    ($($area:ident: $reply:ty,)*) => { $(
        impl From<$reply> for Answer {
            fn from(reply: $reply) -> Self {
                Reply::$area(Box::new(reply)).into()
            }
        }
    )* };
}

from_replies! {
    Chain: ChainReply,
    Mempool: MempoolReply,
    Mining: MiningReply,
    Network: NetworkReply,
    Watch: WatchReply,
    Modules: ModulesReply,
}

type AnswerWith = dyn Fn(&TestNode, &Request) -> Answer + Send + Sync;

/// What was programmed.
#[derive(Default)]
pub(crate) struct Script {
    rules: Mutex<Vec<Rule>>,
}

struct Rule {
    request: String,
    /// How often it still holds.
    times: Option<u32>,
    answer: Arc<AnswerWith>,
}

impl Debug for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Script {
    /// What was programmed last for `request` and still holds.
    pub(crate) fn find(&self, request: &Request) -> Option<Arc<AnswerWith>> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let place = rules.iter().rposition(|rule| rule.request == request.name())?;
        let answer = Arc::clone(&rules[place].answer);
        if let Some(times) = &mut rules[place].times {
            *times -= 1;
            if *times == 0 {
                rules.remove(place);
            }
        }
        Some(answer)
    }
}

/// Programs the answers to one request: [`TestNode::when`].
#[must_use = "say what is answered"]
pub struct When<'a> {
    pub(super) node: &'a TestNode,
    pub(super) script: &'a Script,
    pub(super) request: &'a str,
    pub(super) times: Option<u32>,
}

impl Debug for When<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("When").field("request", &self.request).field("times", &self.times).finish()
    }
}

impl<'a> When<'a> {
    /// Only the next so many times; what held before holds after that.
    pub fn times(self, count: u32) -> Self {
        When { times: Some(count), ..self }
    }

    /// Only the next time.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// It is answered so: a [`Reply`], or a reply of one area such as [`MempoolReply`].
    pub fn answer(self, answer: impl Into<Answer>) -> &'a TestNode {
        let answer = answer.into();
        self.answer_with(move |_, _| answer.clone())
    }

    /// It is answered as `answer` says, which may have the node do something before or after: it is called in the thread that
    /// serves the module.
    pub fn answer_with<A: Into<Answer>>(
        self,
        answer: impl Fn(&TestNode, &Request) -> A + Send + Sync + 'static,
    ) -> &'a TestNode {
        let When { node, script, request, times } = self;
        if times == Some(0) {
            return node;
        }
        let answer = Arc::new(move |node: &TestNode, request: &Request| answer(node, request).into());
        let rule = Rule { request: request.to_owned(), times, answer };
        script.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
        node
    }

    /// It is refused.
    pub fn refuse(self, refusal: Refusal) -> &'a TestNode {
        self.answer(refusal)
    }

    /// The node fails: refused with `reason`.
    pub fn fail(self, reason: &str) -> &'a TestNode {
        self.answer(Refusal::Node { reason: reason.to_owned() })
    }

    /// The node is not done in time: refused at once with the deadline that the request had.
    pub fn time_out(self) -> &'a TestNode {
        self.answer(Answer::Late)
    }

    /// The node closes the connection instead of answering.
    pub fn hang_up(self) -> &'a TestNode {
        self.answer(Answer::HangUp)
    }
}
