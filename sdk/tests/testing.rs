//! The test kit, as authors use it; and that modules which are wrong fail under it.
#![cfg(feature = "testing")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use blvm_sdk::Refusal;
use blvm_sdk::module::RunError;
use blvm_sdk::prelude::*;
use blvm_sdk::request::{FeeEstimate, HealthState, Permission};
use blvm_sdk::serde;
use blvm_sdk::testing::protocol::MempoolReply;
use blvm_sdk::testing::{Removal, TestNode, Transaction, json};

#[derive(serde::Deserialize)]
#[serde(crate = "blvm_sdk::serde", default, deny_unknown_fields)]
struct Settings {
    above_sat_per_vb: u64,
    fails_at: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { above_sat_per_vb: 20, fails_at: u32::MAX }
    }
}

/// Does a little of everything.
struct Watch {
    settings: Settings,
    requests: Requests,
    lines: Mutex<Vec<String>>,
    dear: AtomicU64,
    missed: AtomicU64,
    ticks: AtomicU64,
}

impl Watch {
    fn say(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[module(config = Settings, name = "watch", concurrency = 4)]
impl Watch {
    fn new(start: Start<Settings>) -> Result<Self, Error> {
        Ok(Watch {
            settings: start.settings,
            requests: start.requests,
            lines: Mutex::default(),
            dear: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
        })
    }

    #[on(BlockConnected)]
    fn block(&self, height: u32, body: BlockBytes<'_>) -> Result<(), Error> {
        if height == self.settings.fails_at {
            return Err(Error::new("told to fail"));
        }
        let indexed =
            body.transactions().map_or("fetched".to_owned(), |all| format!("{} transactions", all.len()));
        self.say(format!("+{height} {indexed}"));
        Ok(())
    }

    #[on(BlockDisconnected)]
    fn left(&self, height: u32) {
        self.say(format!("-{height}"));
    }

    #[on(ChainReorganised)]
    fn reorganised(&self, fork_height: u32, body: Reorganisation<'_>) {
        self.say(format!("fork {fork_height}: {} {}", body.disconnected.len(), body.connected.len()));
    }

    #[on(TransactionAdded, concurrent)]
    async fn transaction(&self, fee_sat: u64, weight: u32) {
        if fee_sat * 4 > self.settings.above_sat_per_vb * u64::from(weight) {
            // Long enough for the test to be done before, if it does not wait.
            std::thread::sleep(Duration::from_millis(5));
            self.dear.fetch_add(1, Ordering::Relaxed);
            let _ = self.requests.client().publish_event("DearTransaction", &fee_sat.to_le_bytes());
        }
    }

    #[on(TransactionRemoved)]
    fn removed(&self, reason: u16) {
        self.say(format!("removed {reason}"));
    }

    #[on(ModuleEvent)]
    fn event(&self, publisher: &str, name: &str) {
        self.say(format!("{publisher}: {name}"));
    }

    #[on_missed]
    fn missed(&self, messages: u64) {
        self.missed.fetch_add(messages, Ordering::Relaxed);
    }

    #[rpc]
    fn estimate(&self, target_blocks: u32) -> Result<Option<u64>, Error> {
        Ok(self.requests.client().fee_estimate(target_blocks)?.map(|estimate| estimate.sat_per_kvb))
    }

    #[command]
    fn status(&self) -> String {
        format!("{} dear", self.dear.load(Ordering::Relaxed))
    }

    #[every("10s")]
    fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    #[every("1m")]
    fn minute(&self) {
        self.say(format!("minute after {} ticks", self.ticks.load(Ordering::Relaxed)));
    }
}

#[test]
fn a_module_sees_blocks_reorganisations_and_transactions_as_the_test_has_them_happen() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    node.mine(2);
    module.settle();
    assert_eq!(module.state().lines(), ["+1 1 transactions", "+2 1 transactions"]);

    node.add(&Transaction::new(1));
    let dear = node.add(&Transaction::new(2).fee_rate(50));
    module.settle();
    assert_eq!(module.state().dear.load(Ordering::Relaxed), 1);
    assert_eq!(module.state().lines(), ["watch: DearTransaction"]);
    assert_eq!(module.events().len(), 1);
    assert_eq!(module.events()[0].payload, 5_500_u64.to_le_bytes());

    node.remove(dear, Removal::Expired);
    node.mine(1);
    module.settle();
    let mut lines = module.state().lines();
    lines.sort();
    assert_eq!(lines, ["+3 2 transactions", "removed 1", "removed 4"]);

    assert_eq!(node.reorganise(2).height, 4);
    module.settle();
    let expected = ["-3", "-2", "+2 1 transactions", "+3 1 transactions", "+4 1 transactions", "fork 1: 2 3"];
    assert_eq!(module.state().lines(), expected);
    assert_eq!(node.mempool().len(), 1, "what was in the block that left is back");
    module.stop().unwrap();
}

#[test]
fn a_held_module_misses_exactly_what_is_too_much_and_no_other_misses_anything() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    node.mine(3);
    module.settle();
    module.state().lines();
    for more in [0, 1, 7] {
        let before = module.state().missed.load(Ordering::Relaxed);
        module.while_held(|| node.mine(node.depth::<Chain>() + more));
        module.settle();
        assert_eq!(module.state().missed.load(Ordering::Relaxed) - before, u64::from(more));
        assert_eq!(module.state().lines().len() as u32, node.depth::<Chain>());
    }
    // Four times the ring, and nobody holds it.
    node.mine(4 * node.depth::<Chain>());
    module.settle();
    assert_eq!(module.state().missed.load(Ordering::Relaxed), 8);
    assert_eq!(module.state().lines().len() as u32, 4 * node.depth::<Chain>());
    module.stop().unwrap();
}

#[test]
fn a_block_without_room_on_the_bus_is_fetched() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    node.mine_without_body();
    module.settle();
    assert_eq!(module.state().lines(), ["+1 fetched"]);
    assert_eq!(module.asked("get_block"), 1);
    node.when("get_block").once().fail("the disk is full");
    node.mine_without_body();
    let failures = module.settle_with_failures();
    assert_eq!(
        failures[0].to_string(),
        "handler block failed: the block at height 2 cannot be fetched: the node failed: the disk is full"
    );
    module.stop().unwrap();
}

#[test]
fn methods_commands_and_programmed_answers() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    assert_eq!(module.call("estimate", json!({"target_blocks": 6})).unwrap(), json!(null));
    node.set_fee_estimates(&[(2, 9_000), (6, 4_000)]);
    assert_eq!(module.call("estimate", json!({"target_blocks": 6})).unwrap(), json!(4_000));
    let estimate = FeeEstimate { target_blocks: 6, sat_per_kvb: 7 };
    node.when("get_fee_estimate").answer(MempoolReply::FeeEstimate(Some(estimate)));
    node.when("get_fee_estimate").once().time_out();
    let late = module.call("estimate", json!({"target_blocks": 6})).unwrap_err();
    assert_eq!(late.to_string(), "no answer within 10000 ms: ask for less, or later");
    assert_eq!(module.call("estimate", json!([6])).unwrap(), json!(7));
    let wrong = module.call("estimate", json!({})).unwrap_err();
    assert!(wrong.to_string().contains("target_blocks"), "{wrong}");
    assert_eq!(module.command(["status"]).output, "0 dear\n");
    assert_eq!(module.command(["state"]).status, 2);
    assert_eq!(module.health().state, HealthState::Healthy);
    module.stop().unwrap();
}

#[test]
fn time_passes_as_the_test_says() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    let ticks = |module: &blvm_sdk::testing::TestModule<Watch>| module.state().ticks.load(Ordering::Relaxed);
    module.advance(Duration::from_secs(9));
    assert_eq!(ticks(&module), 0);
    module.advance(Duration::from_secs(1));
    assert_eq!(ticks(&module), 1);
    module.advance(Duration::from_secs(3_600));
    assert_eq!(ticks(&module), 361);
    assert_eq!(module.state().lines().len(), 60);
    module.stop().unwrap();
}

#[test]
fn what_is_not_granted_is_refused_as_a_node_refuses_it() {
    let node = TestNode::start();
    let refused = node.module::<Watch>().permissions(&[Permission::ReadBlockchain]).start().unwrap_err();
    let RunError::Session(error) = refused else { panic!("{refused}") };
    assert_eq!(
        error.to_string(),
        "this needs the permission read_mempool: add it to capabilities in module.toml"
    );
    let manifest = r#"
        name = "watch"
        version = "1.0.0"
        entry_point = "watch"
        capabilities = ["read_blockchain", "read_mempool", "subscribe_events", "register_rpc_endpoint"]
        [topics]
        chain = { kinds = ["BlockConnected"] }
    "#;
    let module = node.module::<Watch>().manifest(manifest).start().unwrap();
    node.add(&Transaction::new(1).fee_rate(100));
    let told = panic_of(|| module.settle());
    let expected =
        "publish_event: this needs the permission publish_events: add it to capabilities in module.toml";
    assert!(told.contains(expected), "{told}");
    assert_eq!(module.asked("publish_event"), 1);
    node.add(&Transaction::new(2).fee_rate(100));
    panic_of(|| module.settle());
    node.add(&Transaction::new(3).fee_rate(100));
    while module.asked("publish_event") < 3 {
        std::thread::yield_now();
    }
    assert!(module.events().is_empty() && module.state().lines().is_empty());
    assert_eq!(module.denied().len(), 1);
    module.stop().unwrap();
}

#[test]
fn settings_that_are_wrong_are_an_error_of_start() {
    let node = TestNode::start();
    let module = node.module::<Watch>().settings("above_sat_per_vb = 3").start().unwrap();
    node.add(&Transaction::new(1));
    module.settle();
    assert_eq!(module.state().dear.load(Ordering::Relaxed), 1);
    let error = node.module::<Watch>().settings("above = 3").start().unwrap_err();
    assert!(error.to_string().contains("above"), "{error}");
}

#[test]
#[should_panic(expected = "module watch: handler block failed: told to fail")]
fn a_handler_that_fails_fails_the_test() {
    let node = TestNode::start();
    let module = node.module::<Watch>().settings("fails_at = 2").start().unwrap();
    node.mine(3);
    module.settle();
}

#[test]
fn a_connection_that_is_cut_ends_the_module_and_a_new_one_goes_on() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    module.disconnect();
    let error = module.wait_ended().unwrap_err();
    assert_eq!(error.to_string(), "the node has closed the connection");
    // As often as one likes: what one had is given back.
    for _ in 0..20 {
        let module = node.module::<Watch>().start().unwrap();
        node.mine(1);
        module.settle();
        assert!(module.state().lines()[0].ends_with("1 transactions"));
        module.stop().unwrap();
    }
    let module = node.module::<Watch>().start().unwrap();
    node.crash();
    assert!(module.wait_ended().is_err());
    node.restart();
    let module = node.module::<Watch>().start().unwrap();
    assert_eq!(node.mine(1).height, 21);
    module.settle();
    assert_eq!(module.state().lines(), ["+21 1 transactions"]);
    node.shut_down();
    module.wait_ended().unwrap();
}

#[test]
fn a_programmed_end_of_the_connection_is_seen() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    node.when("get_fee_estimate").hang_up();
    assert!(
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| module.call("estimate", json!([1]))))
            .is_err()
    );
    assert!(module.wait_ended().is_err());
}

/// Thinks that nothing is ever missed.
#[derive(Default)]
struct Careless {
    height: AtomicU64,
}

#[module(name = "careless")]
impl Careless {
    fn new() -> Self {
        Careless::default()
    }

    #[on(BlockConnected)]
    fn block(&self, height: u32) -> Result<(), Error> {
        match self.height.swap(height.into(), Ordering::Relaxed) + 1 {
            expected if expected == u64::from(height) => Ok(()),
            expected => Err(Error::new(format!("expected {expected}, found {height}"))),
        }
    }
}

#[test]
fn a_module_that_takes_no_account_of_what_it_misses_is_found_out() {
    let node = TestNode::start();
    let module = node.module::<Careless>().start().unwrap();
    node.mine(2);
    module.settle();
    module.while_held(|| node.mine(node.depth::<Chain>() + 4));
    let failures = module.settle_with_failures();
    assert_eq!(failures[0].message, "expected 3, found 7");
    module.stop().unwrap();
}

#[test]
fn an_answer_that_is_nowhere_says_what_to_do() {
    let node = TestNode::start();
    let mut session = node.attach(blvm_sdk::Topics::new(), blvm_sdk::Wait::Park).unwrap();
    let error = session.client().block_template().unwrap_err();
    let blvm_sdk::CallError::Refused(Refusal::Unsupported { .. }) = &error else { panic!("{error}") };
    assert!(error.to_string().contains("node.when(\"get_block_template\").answer("), "{error}");
}

#[test]
fn a_program_beside_the_node_comes_back_with_it() {
    let node = TestNode::start();
    let module = node.module::<Watch>().by_path().settings("above_sat_per_vb = 5").start().unwrap();
    for height in 1..=6 {
        node.mine(1);
        module.settle();
        // It may read everything: without leases, so that blocks are fetched.
        assert_eq!(module.state().lines(), [format!("+{height} fetched")]);
        node.crash();
        node.restart();
        // Attached to the other node, and built anew.
        module.settle();
        assert_eq!(module.state().settings.above_sat_per_vb, 5);
    }
    // It may change nothing.
    node.add(&Transaction::new(1));
    module.settle();
    assert_eq!((module.asked("publish_event"), module.events().len()), (1, 0));
    module.stop().unwrap();
}

#[test]
fn a_template_is_told_of_answered_and_read_first_by_who_attaches_later() {
    use blvm_sdk::{Mining, MiningEvent, Topics, Wait};

    let node = TestNode::start();
    let (cheap, dear) = (Transaction::new(1).fee_rate(1), Transaction::new(2).fee_rate(9).virtual_bytes(300));
    node.mine(20);
    node.add(&cheap);
    node.add(&dear);
    let id = node.update_template();
    let mut session = node.attach(Topics::new().with::<Mining>(), Wait::Park).unwrap();
    let mut mining = session.feed::<Mining>().unwrap();
    let first = mining.poll().unwrap().unwrap();
    assert!(matches!(first.event().unwrap(), MiningEvent::TipChanged(tip) if tip.height == 20));
    let second = mining.poll().unwrap().unwrap();
    let MiningEvent::TemplateUpdated(told) = second.event().unwrap() else { panic!("{second:?}") };
    let fees_sat = cheap.fee_sat() + dear.fee_sat();
    assert_eq!(
        (told.template_id.to_native(), told.fees_sat.to_native(), told.transactions.to_native()),
        (id, fees_sat, 2)
    );
    assert_eq!(told.merkle_path[0], cheap.txid());
    let asked = session.client().block_template().unwrap();
    assert_eq!((asked.id, asked.weight), (id, cheap.weight() + dear.weight()));
    let transactions = session.client().template_transactions(id).unwrap();
    assert_eq!(transactions[1].raw, dear.raw());
    assert_eq!(transactions.len(), 2);
    // A template stands on a tip.
    node.mine(1);
    assert!(session.client().template_transactions(id).unwrap_err().to_string().contains("not known"));
}

/// Echoes what others publish, so that what it does leads to more.
#[derive(Default)]
struct Echo {
    requests: Mutex<Option<Requests>>,
    heard: AtomicU64,
}

#[module(name = "echo", concurrency = 3)]
impl Echo {
    fn new(start: Start) -> Self {
        Echo { requests: Mutex::new(Some(start.requests)), heard: AtomicU64::new(0) }
    }

    #[on(ModuleEvent, concurrent)]
    fn event(&self, payload: &[u8]) -> Result<(), Error> {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let Some((left, rest)) = payload.split_first() else { return Ok(()) };
        let requests = self.requests.lock().unwrap().clone();
        for _ in 0..*left {
            requests.as_ref().unwrap().client().publish_event("Echo", rest)?;
        }
        Ok(())
    }
}

#[test]
fn settled_means_that_all_is_done_which_what_was_done_has_led_to() {
    let node = TestNode::start();
    let module = node.module::<Echo>().start().unwrap();
    for round in 1..=200 {
        let event =
            ModuleEvent { publisher: "test".to_owned(), name: "Begin".to_owned(), payload: vec![3, 2, 1] };
        node.publish(&event);
        module.settle();
        // 1 + 3 + 3 × 2 + 3 × 2 × 1, each by a handler that the one before has caused.
        assert_eq!(module.state().heard.load(Ordering::Relaxed), 16 * round);
    }
    module.stop().unwrap();
}

/// Thinks that blocks never leave.
#[derive(Default)]
struct Growing {
    heights: Mutex<Vec<u32>>,
}

#[module(name = "growing")]
impl Growing {
    fn new() -> Self {
        Growing::default()
    }

    #[on(BlockConnected)]
    fn block(&self, height: u32) {
        self.heights.lock().unwrap().push(height);
    }
}

#[test]
fn a_module_that_does_not_know_of_reorganisations_is_found_out() {
    let node = TestNode::start();
    let module = node.module::<Growing>().start().unwrap();
    node.mine(3);
    module.settle();
    assert_eq!(module.state().heights.lock().unwrap().len() as u32, node.tip().height);
    node.reorganise(2);
    module.settle();
    assert_ne!(module.state().heights.lock().unwrap().len() as u32, node.tip().height);
    module.stop().unwrap();
}

#[test]
fn what_a_test_does_twice_it_gets_twice() {
    let play = || {
        let node = TestNode::start();
        node.mine(3);
        let parent = Transaction::new(1).virtual_bytes(500);
        node.add(&parent);
        node.mine_with([&parent, &Transaction::new(2).spends(&parent, 0)]);
        node.reorganise(3);
        (node.chain(), node.mempool())
    };
    assert_eq!(play(), play());
}

#[test]
#[should_panic(expected = "there is no request \"get_blok\"")]
fn a_request_that_there_is_not_cannot_be_programmed() {
    let _ = TestNode::start().when("get_blok");
}

#[test]
#[should_panic(expected = "module watch is held: resume() it first")]
fn a_held_module_cannot_settle() {
    let node = TestNode::start();
    let module = node.module::<Watch>().start().unwrap();
    module.hold();
    module.settle();
}

#[test]
fn a_module_that_does_not_come_to_an_end_is_told_of_with_where_it_is() {
    #[derive(Default)]
    struct Stuck {
        gate: std::sync::Arc<(Mutex<bool>, std::sync::Condvar)>,
    }

    #[module(name = "stuck")]
    impl Stuck {
        fn new() -> Self {
            Stuck::default()
        }

        #[on(BlockConnected)]
        fn block(&self) {
            let is_closed = |is_open: &mut bool| !*is_open;
            drop(self.gate.1.wait_while(self.gate.0.lock().unwrap(), is_closed));
        }
    }

    let node = TestNode::options().limit(Duration::from_millis(300)).start();
    let module = node.module::<Stuck>().start().unwrap();
    let gate = std::sync::Arc::clone(&module.state().gate);
    node.mine(2);
    let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| module.settle()));
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let told = settled.unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.contains("module stuck did not settle within 300ms"), "{told}");
    assert!(told.contains("chain: read up to 0 of 2; a handler is at work, or messages wait"), "{told}");
    module.settle();
    module.stop().unwrap();
}

#[test]
fn a_session_beside_the_node_gets_blocks_by_request_and_changes_nothing() {
    use blvm_sdk::{Body, CallError, Topics, Wait};

    let node = TestNode::start();
    let mut session = node.attach_by_path(Topics::new().with::<Chain>(), Wait::Park).unwrap();
    let mut chain = session.feed::<Chain>().unwrap();
    let tip = node.mine(1);
    let sample = chain.poll().unwrap().unwrap();
    assert!(matches!(sample.body().unwrap(), Body::Gone));
    assert_eq!(session.client().block(tip.hash).unwrap().unwrap(), node.block(1));
    let offered = session.client().submit_transaction(Transaction::new(1).raw());
    let Err(CallError::Refused(Refusal::Denied { permission })) = offered else { panic!("{offered:?}") };
    assert_eq!(permission, "send_transactions");
    assert!(node.mempool().is_empty());
}

/// What `work` panics with.
fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) else {
        panic!("it was to panic")
    };
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_failure_is_told_however_the_module_ends() {
    let failing = |ends: &dyn Fn(TestNode, blvm_sdk::testing::TestModule<Watch>)| {
        let node = TestNode::start();
        let module = node.module::<Watch>().settings("fails_at = 2").start().unwrap();
        node.mine(3);
        while module.state().lines().last().is_none_or(|line| !line.starts_with("+3")) {
            std::thread::yield_now();
        }
        let told = panic_of(|| ends(node, module));
        assert!(told.contains("handler block failed: told to fail"), "{told}");
    };
    failing(&|node, module| {
        node.shut_down();
        module.wait_ended().unwrap();
    });
    failing(&|_, module| module.stop().unwrap());
    failing(&|_, module| drop(module));
}

#[test]
fn a_failure_under_the_node_before_is_told_under_the_next_one() {
    let node = TestNode::start();
    let module = node.module::<Watch>().settings("fails_at = 1").by_path().start().unwrap();
    node.mine(2);
    while module.state().lines().is_empty() {
        std::thread::yield_now();
    }
    node.crash();
    node.restart();
    let told = panic_of(|| module.settle());
    assert!(told.contains("handler block failed: told to fail"), "{told}");
    module.stop().unwrap();
}

/// Never comes to the end of a block.
struct Endless;

#[module(name = "endless")]
impl Endless {
    fn new() -> Self {
        Endless
    }

    #[on(BlockConnected)]
    fn block(&self) {
        loop {
            std::thread::park();
        }
    }
}

/// Tells whether this is the process in which `of` is to run.
fn is_child(of: &str) -> bool {
    std::env::var("BLVM_TEST_CHILD").is_ok_and(|name| name == of)
}

/// What test `name`, which fails, says in a process of its own. It has to end.
fn said_by_child(name: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(program)
        .args(["--exact", name, "--nocapture"])
        .env("BLVM_TEST_CHILD", name)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let begin = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{name} hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(!status.success());
    std::io::read_to_string(child.stderr.take().unwrap()).unwrap()
}

#[test]
fn child_with_a_handler_that_never_ends() {
    if is_child("child_with_a_handler_that_never_ends") {
        let node = TestNode::options().limit(Duration::from_millis(300)).start();
        let module = node.module::<Endless>().start().unwrap();
        node.mine(1);
        module.settle();
    }
}

#[test]
fn child_that_drops_a_module_that_never_ends() {
    if is_child("child_that_drops_a_module_that_never_ends") {
        let node = TestNode::options().limit(Duration::from_millis(300)).start();
        let module = node.module::<Endless>().start().unwrap();
        node.mine(1);
        // The handler is at work when it is stopped.
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| module.settle())).is_err());
        drop(module);
    }
}

#[test]
fn a_handler_that_hangs_fails_the_test_and_does_not_hang_it() {
    let said = said_by_child("child_with_a_handler_that_never_ends");
    assert!(said.contains("module endless did not settle within 300ms"), "{said}");
    let said = said_by_child("child_that_drops_a_module_that_never_ends");
    assert!(said.contains("module endless did not end within 300ms"), "{said}");
}

/// Reads no topic.
struct Silent;

#[module(name = "silent")]
impl Silent {
    fn new() -> Self {
        Silent
    }

    #[rpc]
    fn ping(&self) -> &'static str {
        "pong"
    }
}

#[test]
fn a_node_that_is_shut_down_ends_all_modules_and_comes_back() {
    let node = TestNode::start();
    let (watch, silent) = (node.module::<Watch>().start().unwrap(), node.module::<Silent>().start().unwrap());
    let beside = node.module::<Watch>().name("beside").by_path().start().unwrap();
    node.mine(1);
    node.shut_down();
    watch.wait_ended().unwrap();
    silent.wait_ended().unwrap();
    assert!(node.module::<Silent>().start().is_err());
    node.restart();
    beside.settle();
    node.mine(1);
    beside.settle();
    assert_eq!(beside.state().lines().len(), 1);
    beside.stop().unwrap();
}

#[test]
#[should_panic(expected = "there is no request \"get_blok\"")]
fn the_count_of_a_request_that_there_is_not_is_refused() {
    let node = TestNode::start();
    node.module::<Silent>().start().unwrap().asked("get_blok");
}

#[test]
fn child_without_a_package() {
    if is_child("child_without_a_package") {
        let node = TestNode::start();
        let module = node.module::<Silent>().start().unwrap();
        module.stop().unwrap();
    }
}

#[test]
fn rights_are_never_guessed() {
    let program = std::env::current_exe().unwrap();
    let run = |package: Option<&std::path::Path>| {
        let mut command = std::process::Command::new(&program);
        command.args(["--exact", "child_without_a_package", "--nocapture"]);
        command.env("BLVM_TEST_CHILD", "child_without_a_package").env_remove("CARGO_MANIFEST_DIR");
        if let Some(package) = package {
            command.env("CARGO_MANIFEST_DIR", package);
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_right, said) = run(None);
    assert!(!is_right && said.contains("CARGO_MANIFEST_DIR is not set"), "{said}");
    let package = tempfile::tempdir().unwrap();
    assert!(run(Some(package.path())).0, "without a manifest everything may be done");
    std::fs::write(package.path().join("module.toml"), b"name = \"\xff\"").unwrap();
    let (is_right, said) = run(Some(package.path()));
    assert!(!is_right && said.contains("module.toml cannot be read"), "{said}");
}

#[test]
fn what_the_new_chain_conflicts_with_does_not_come_back() {
    let node = TestNode::start();
    let source = Transaction::new(1).pays(50_000, [0x51]);
    let deposit = Transaction::new(2).spends(&source, 0).pays(20_000, [0x51]);
    let theft = Transaction::new(3).spends(&source, 0);
    let child = Transaction::new(4).spends(&deposit, 0);
    let other = Transaction::new(5);
    node.mine_with([&source]);
    node.mine_with([&deposit, &other]);
    node.add(&child);
    let module = node.module::<Watch>().start().unwrap();
    node.reorganise_with(1, [&[theft][..], &[]]);
    module.settle();
    let waiting: Vec<_> = node.mempool().iter().map(|entry| entry.txid).collect();
    assert_eq!(waiting, [other.txid()], "neither the deposit nor what spends it");
    let lines = module.state().lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("removed")).count(), 1, "{lines:?}");
    module.stop().unwrap();
}

#[test]
fn what_leaves_the_mempool_leaves_with_what_spends_it() {
    let node = TestNode::start();
    let parent = Transaction::new(1).pays(50_000, [0x51]).pays(50_000, [0x51]);
    let left = Transaction::new(2).spends(&parent, 0).pays(20_000, [0x51]);
    let both = Transaction::new(3).spends(&parent, 1).spends(&left, 0);
    let stays = Transaction::new(4);
    for transaction in [&parent, &both, &left, &stays] {
        node.add(transaction);
    }
    let mut session = node.attach(blvm_sdk::Topics::new().with::<Mempool>(), blvm_sdk::Wait::Park).unwrap();
    let mut feed = session.feed::<Mempool>().unwrap();
    node.remove(parent.txid(), Removal::Expired);
    let mut gone = Vec::new();
    while let Some(sample) = feed.poll().unwrap() {
        if let blvm_sdk::MempoolEvent::TransactionRemoved(removed) = sample.event().unwrap() {
            gone.push(removed.txid);
        }
    }
    assert_eq!(gone, [both.txid(), left.txid(), parent.txid()], "children before parents");
    assert_eq!(node.mempool().len(), 1);
}

#[test]
fn a_fee_that_nobody_knows_is_not_told_of() {
    let node = TestNode::start();
    let other = TestNode::start();
    other.mine_with([&Transaction::new(1)]);
    node.mine_raw(other.block(1).raw);
    node.reorganise(1);
    assert!(node.mempool().is_empty());
}
