//! What modules ask of each other and of the node about modules: several at once, each with the SDK at its end of the socket.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use blvm_bus::message::Kind;
use blvm_bus::message::modules::{MAX_EVENT_PAYLOAD_BYTES, Modules, ModulesEvent};
use blvm_bus::message::payments::{NAMES, Payments, PaymentsEvent};
use blvm_bus::message::system::{ModuleCrashed, NodeShutdown, System};
use blvm_sdk::ReceivedCall;
use blvm_sdk::request::{
    Call, CallReply, CliSpec, CommandOutput, HealthState, ModuleError, ModuleHealth, ModuleRefusal,
    ModuleState, ModuleSummary,
};

use super::*;
use crate::module::calls::CallFailure;
use crate::module::conversation::tests::ScriptedNode;
use crate::module::registry::RegistryError;

/// Rights of a module that may do everything among modules.
const AMONG_MODULES: [Permission; 6] = [
    Permission::SubscribeEvents,
    Permission::PublishEvents,
    Permission::CallModule,
    Permission::RegisterModuleApi,
    Permission::RegisterRpcEndpoint,
    Permission::DiscoverModules,
];

/// A bus without a node behind it, and modules on it.
pub(super) struct Bus {
    pub(super) shared: Arc<Shared>,
    pub(super) topics: Arc<Topics>,
    pub(super) runtime: Runtime,
}

impl Bus {
    pub(super) fn new(limits: RequestLimits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let chain = Geometry { depth: 16, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Arc::new(Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap());
        let node: Arc<dyn NodeApi> = Arc::new(ScriptedNode);
        let shared = Arc::new(Shared::new(Arc::clone(&topics), node, None, "regtest", limits));
        Bus { shared, topics, runtime: runtime.unwrap() }
    }

    /// A module of that name, attached.
    pub(super) fn module(
        &self,
        name: &str,
        permissions: &[Permission],
        publishes: &[&str],
        topics: Wishes,
    ) -> Session {
        self.module_and_socket(name, permissions, publishes, topics).0
    }

    /// The same, and its end of the socket once more: to end it as the end of its process would.
    pub(super) fn module_and_socket(
        &self,
        name: &str,
        permissions: &[Permission],
        publishes: &[&str],
        topics: Wishes,
    ) -> (Session, StdUnixStream) {
        self.module_as(name, permissions, publishes, "", topics)
    }

    /// The same, with more in its manifest.
    fn module_as(
        &self,
        name: &str,
        permissions: &[Permission],
        publishes: &[&str],
        more: &str,
        topics: Wishes,
    ) -> (Session, StdUnixStream) {
        let (wake, module_wake) = wake_socket_pair().unwrap();
        let text = format!("name = \"{name}\"\nversion = \"1.2.3\"\nentry_point = \"sh\"\n{more}");
        let mut manifest = Manifest::read_text(&text, "/bin".as_ref()).unwrap();
        manifest.permissions = permissions.to_vec();
        manifest.publishes = publishes.iter().map(|event| (*event).to_owned()).collect();
        let (starts, _) = watch::channel(None);
        let shared = Arc::clone(&self.shared);
        let config = format!("name = \"{name}\"\n");
        let module =
            Arc::new(Module::new(manifest, (config, Vec::new()), BTreeMap::new(), 42, wake, starts, shared));
        let (socket, module_socket) = StdUnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let _in_runtime = self.runtime.enter();
        let socket = UnixStream::from_std(socket).unwrap();
        self.runtime.spawn(serve(socket, module, Arc::clone(&self.shared)));
        let own = module_socket.try_clone().unwrap();
        (Session::attach_over(module_socket, module_wake, topics, Wait::Park).unwrap(), own)
    }

    fn peer(&self, name: &str) -> Session {
        self.module(name, &AMONG_MODULES, &[], Wishes::new())
    }
}

/// What a handler makes of a call of the module.
type Handler = fn(&mut Session, &Call) -> Result<CallReply, ModuleError>;

/// Answers the module's calls on a thread until the node is gone or the module is to stop.
fn answer_calls(mut session: Session, handler: Handler) -> JoinHandle<()> {
    std::thread::spawn(move || {
        loop {
            while let Ok(Some(call)) = session.next_call() {
                let outcome = handler(&mut session, call.call());
                let _ = call.answer(outcome);
            }
            if session.is_stopping() || session.wait(&[]).is_err() {
                return;
            }
        }
    })
}

fn echo(_: &mut Session, call: &Call) -> Result<CallReply, ModuleError> {
    match call {
        Call::Api { caller, method, payload } => {
            Ok(CallReply::Api([caller.as_bytes(), b"/", method.as_bytes(), b"/", payload].concat()))
        }
        Call::Rpc { method, params } => Ok(CallReply::Rpc(format!("{{\"{method}\":{params}}}"))),
        Call::Command { name, arguments } => {
            let output = format!("{name} {}", arguments.join(" "));
            Ok(CallReply::Command(CommandOutput { output, ..CommandOutput::default() }))
        }
        other => Err(ModuleError::UnknownMethod { name: other.name().to_owned() }),
    }
}

/// Waits for a call.
fn take_call(session: &mut Session) -> ReceivedCall {
    let start = Instant::now();
    loop {
        if let Some(call) = session.next_call().unwrap() {
            return call;
        }
        assert!(start.elapsed() < PATIENCE, "no call comes");
        session.wait(&[]).unwrap();
    }
}

fn rule<T: std::fmt::Debug>(answer: Result<T, CallError>) -> ModuleRefusal {
    match refused(answer) {
        Refusal::Module { rule, .. } => rule,
        other => panic!("another refusal: {other:?}"),
    }
}

fn denied(permission: &str) -> Refusal {
    Refusal::Denied { permission: permission.to_owned() }
}

#[test]
fn events_of_modules_bear_their_publisher_and_payments_need_a_right_each() {
    let bus = Bus::new(RequestLimits::default());
    let rights = [Permission::SubscribeEvents, Permission::ReadPayment];
    let mut reader = bus.module("reader", &rights, &[], Wishes::new().with::<Modules>().with::<Payments>());
    let mut modules = reader.feed::<Modules>().unwrap();
    let mut payments = reader.feed::<Payments>().unwrap();

    let mut mesh = bus.module("mesh", &[Permission::PublishEvents], &[], Wishes::new());
    assert_eq!(mesh.client().publish_event("RouteDiscovered", b"to you").unwrap(), 1);
    let found = wait_for(&mut reader, &mut modules, |received| match received.event().unwrap() {
        ModulesEvent::ModuleEvent(event) => Some((
            event.publisher.as_str().to_owned(),
            event.name.as_str().to_owned(),
            event.payload.to_vec(),
        )),
    });
    assert_eq!(found, ("mesh".to_owned(), "RouteDiscovered".to_owned(), b"to you".to_vec()));
    for name in NAMES {
        let refusal = refused(mesh.client().publish_event(name, b"forged"));
        assert_eq!(refusal, denied(&format!("publish:{name}")));
    }

    let mut lightning = bus.module("lightning", &[], &["PaymentSettled", "RouteFailed"], Wishes::new());
    assert_eq!(lightning.client().publish_event("PaymentSettled", b"1 sat").unwrap(), 1);
    let publisher = wait_for(&mut reader, &mut payments, |received| match received.event().unwrap() {
        PaymentsEvent::PaymentEvent(event) => Some(event.publisher.as_str().to_owned()),
    });
    assert_eq!(publisher, "lightning");
    assert_eq!(lightning.client().publish_event("RouteFailed", b"").unwrap(), 2);
    let refusal = refused(lightning.client().publish_event("PaymentFailed", b""));
    assert_eq!(refusal, denied("publish:PaymentFailed"));
    assert_eq!(refused(lightning.client().publish_event("RouteDiscovered", b"")), denied("publish_events"));
    // Nothing of what was refused was published.
    assert_eq!(bus.topics.next_sequence(Payments::NUMBER), Some(2));
    assert_eq!(bus.topics.next_sequence(Modules::NUMBER), Some(3));
}

#[test]
fn events_have_names_of_their_own_a_length_and_a_quota() {
    let limits = RequestLimits { events_per_second: 5, ..RequestLimits::default() };
    let bus = Bus::new(limits);
    let mut module = bus.peer("mesh");
    let client = module.client();
    for name in ["", "1Route", "Route Found", "Röute", &"R".repeat(65)] {
        assert_eq!(rule(client.publish_event(name, b"")), ModuleRefusal::BadName);
    }
    for name in ["BlockConnected", "ModuleLoaded", "PeerConnected", "ModuleEvent"] {
        assert_eq!(rule(client.publish_event(name, b"")), ModuleRefusal::NameReserved);
    }
    let longest = [7; MAX_EVENT_PAYLOAD_BYTES];
    assert_eq!(rule(client.publish_event("Route", &[&longest[..], b"1"].concat())), ModuleRefusal::TooLarge);
    assert_eq!(client.publish_event(&"R".repeat(64), &longest).unwrap(), 1);
    let flood = (0..20).map(|_| client.publish_event("Route", b"")).filter_map(Result::err);
    let refusals: Vec<_> = flood.collect();
    assert!(refusals.len() >= 10, "{refusals:?}");
    for refusal in refusals {
        assert!(matches!(refusal, CallError::Refused(Refusal::Quota { per_second: 5, .. })), "{refusal}");
    }
    // Another's quota is its own.
    bus.peer("other").client().publish_event("Route", b"").unwrap();
}

#[test]
fn a_module_calls_another_by_name_and_is_told_by_a_name_it_cannot_choose() {
    let bus = Bus::new(RequestLimits::default());
    let mut callee = bus.peer("callee");
    callee.client().register_module_api(&["echo", "fail", "panic"]).unwrap();
    let callee = answer_calls(callee, |session, call| match call {
        Call::Api { method, .. } if method == "fail" => {
            Err(ModuleError::Failed { code: 7, message: "no route".to_owned() })
        }
        other => echo(session, other),
    });
    let mut caller = bus.peer("caller");
    let client = caller.client();
    let answer = client.call_module("callee", "echo", b"hello", PATIENCE).unwrap();
    assert_eq!(answer, b"caller/echo/hello");
    assert_eq!(rule(client.call_module("callee", "fail", b"", PATIENCE)), ModuleRefusal::Failed);
    assert_eq!(rule(client.call_module("callee", "hidden", b"", PATIENCE)), ModuleRefusal::UnknownMethod);
    assert_eq!(rule(client.call_module("nobody", "echo", b"", PATIENCE)), ModuleRefusal::NotAvailable);
    // An answer of this length travels in memory of its own.
    let long = vec![9; 600 << 10];
    let answer = client.call_module("callee", "echo", &long, PATIENCE).unwrap();
    assert!(answer.ends_with(&long));
    assert_eq!(
        refused(
            bus.module("mute", &[], &[], Wishes::new()).client().call_module("callee", "echo", b"", PATIENCE)
        ),
        denied("call_module")
    );
    drop((caller, bus));
    callee.join().unwrap();
}

#[test]
fn a_circle_of_calls_is_refused_naming_it_and_the_others_go_on() {
    let bus = Bus::new(RequestLimits::default());
    // Each asks the next one with what it was asked.
    fn ask_next(session: &mut Session, call: &Call) -> Result<CallReply, ModuleError> {
        let Call::Api { payload, .. } = call else { return Err(ModuleError::Unanswered) };
        let Some((next, rest)) = payload.split_first() else { return Ok(CallReply::Api(b"end".to_vec())) };
        let next = format!("m{}", char::from(*next));
        match session.client().call_module(&next, "ask", rest, PATIENCE) {
            Ok(answer) => Ok(CallReply::Api(answer)),
            Err(error) => Err(ModuleError::Failed { code: 0, message: error.to_string() }),
        }
    }
    let modules: Vec<_> = ["ma", "mb", "mc"]
        .map(|name| {
            let mut module = bus.peer(name);
            module.client().register_module_api(&["ask"]).unwrap();
            answer_calls(module, ask_next)
        })
        .into();
    let mut first = bus.peer("first");
    let client = first.client();
    assert_eq!(client.call_module("ma", "ask", b"bc", PATIENCE).unwrap(), b"end");
    let circle = refused(client.call_module("ma", "ask", b"bca", PATIENCE)).to_string();
    assert!(circle.contains("mc -> ma -> mb -> mc"), "{circle}");
    let circle = refused(client.call_module("mb", "ask", b"b", PATIENCE)).to_string();
    assert!(circle.contains("mb -> mb"), "{circle}");
    assert_eq!(client.call_module("mc", "ask", b"ab", PATIENCE).unwrap(), b"end");
    assert_eq!(bus.shared.waits.len(), 0);
    drop((first, bus));
    modules.into_iter().for_each(|module| module.join().unwrap());
}

#[test]
fn a_module_that_is_late_panics_or_ends_is_told_to_its_caller_and_nothing_is_left() {
    let bus = Bus::new(RequestLimits::default());
    let (mut callee, socket) = bus.module_and_socket("callee", &AMONG_MODULES, &[], Wishes::new());
    callee.client().register_module_api(&["take"]).unwrap();
    let mut caller = bus.peer("caller");
    let mut ask = |deadline, callee: &mut Session, keep: &dyn Fn(ReceivedCall) -> Option<ReceivedCall>| {
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| rule(caller.client().call_module("callee", "take", b"", deadline)));
            let _held = keep(take_call(callee));
            asking.join().unwrap()
        })
    };
    // Held until the caller has gone.
    assert_eq!(ask(Duration::from_millis(50), &mut callee, &Some), ModuleRefusal::Deadline);
    assert_eq!(ask(PATIENCE, &mut callee, &|_| None), ModuleRefusal::Panicked);
    let gone = std::thread::scope(|scope| {
        let asking = scope.spawn(|| rule(caller.client().call_module("callee", "take", b"", PATIENCE)));
        let _unanswered = take_call(&mut callee);
        // As if its process were killed.
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        asking.join().unwrap()
    });
    assert_eq!(gone, ModuleRefusal::Gone);
    until(|| bus.shared.registry.specs().is_empty() && bus.shared.waits.len() == 0);
    // The name is free for the next process of that module.
    until(|| {
        let mut next = bus.peer("callee");
        next.client().register_module_api(&["take"]).is_ok()
    });
}

#[test]
fn methods_and_commands_are_offered_until_the_module_ends_and_names_are_not_taken_twice() {
    let bus = Bus::new(RequestLimits::default());
    let registry = Arc::clone(&bus.shared.registry);
    registry.reserve_methods(["getblockcount"]);
    let call = |method: &str, params: &str| {
        bus.runtime.block_on(registry.call_rpc(method, params.to_owned(), PATIENCE))
    };
    let spec =
        |name: &str| CliSpec { name: name.to_owned(), about: "routes".to_owned(), ..CliSpec::default() };
    let mut mesh = bus.peer("mesh");
    mesh.client().register_rpc_endpoint("listroutes", "every route").unwrap();
    mesh.client().register_rpc_endpoint("dropped", "").unwrap();
    assert!(mesh.client().unregister_rpc_endpoint("dropped").unwrap());
    assert!(!mesh.client().unregister_rpc_endpoint("dropped").unwrap());
    mesh.client().register_cli_spec(spec("routes")).unwrap();
    for name in ["stop", "loadmodule", "getblockcount"] {
        assert_eq!(rule(mesh.client().register_rpc_endpoint(name, "")), ModuleRefusal::NameReserved);
    }
    for name in ["", "List", "rpc.discover", "1st"] {
        assert_eq!(rule(mesh.client().register_rpc_endpoint(name, "")), ModuleRefusal::BadName);
    }
    assert_eq!(rule(mesh.client().register_cli_spec(spec("status"))), ModuleRefusal::NameReserved);

    let mut other = bus.peer("other");
    assert_eq!(rule(other.client().register_rpc_endpoint("listroutes", "")), ModuleRefusal::NameTaken);
    assert_eq!(rule(other.client().register_cli_spec(spec("routes"))), ModuleRefusal::NameTaken);
    assert_eq!(rule(other.client().register_cli_spec(spec("mesh"))), ModuleRefusal::NameTaken);
    // A second process of a module offers nothing while the first is there.
    let mut twin = bus.peer("mesh");
    assert_eq!(rule(twin.client().register_rpc_endpoint("mine", "")), ModuleRefusal::NameTaken);
    drop(twin);

    let mesh = answer_calls(mesh, echo);
    assert_eq!(call("listroutes", "[1,2]").as_deref(), Ok("{\"listroutes\":[1,2]}"));
    let methods = registry.methods();
    assert_eq!(methods.len(), 1);
    assert_eq!((&*methods[0].module, &*methods[0].about), ("mesh", "every route"));
    for name in ["routes", "mesh"] {
        let run = registry.run_command(name, vec!["list".to_owned(), "-v".to_owned()], PATIENCE);
        assert_eq!(bus.runtime.block_on(run).unwrap().output, "routes list -v");
    }
    assert_eq!(registry.specs()[0].spec, spec("routes"));

    other.client().register_rpc_endpoint("slow", "").unwrap();
    let late = bus.runtime.block_on(registry.call_rpc("slow", "[]".to_owned(), Duration::from_millis(20)));
    assert!(matches!(late, Err(RegistryError::Call(CallFailure::Deadline { .. }))));
    drop(other);
    until(|| matches!(call("slow", "[]"), Err(RegistryError::NotOffered { .. })));
    let stop = registry.api("mesh", "any").unwrap_err();
    assert!(matches!(stop, Refusal::Module { rule: ModuleRefusal::UnknownMethod, .. }));
    drop(bus);
    mesh.join().unwrap();
}

#[test]
fn modules_see_each_other_and_how_they_do() {
    let bus = Bus::new(RequestLimits::default());
    let mut mesh = bus.peer("mesh");
    let summary = |name: &str, state| ModuleSummary {
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        state,
        health: ModuleHealth::default(),
        is_loaded: state == ModuleState::Running,
        pid: (state == ModuleState::Running).then_some(42),
    };
    let directory = &bus.shared.directory;
    for (name, state) in [("mesh", ModuleState::Running), ("miner", ModuleState::Failed)] {
        directory.update(name, |module| *module = Some(summary(name, state)), || {});
    }
    let client = mesh.client();
    let names: Vec<_> = client.discover_modules().unwrap().into_iter().map(|module| module.name).collect();
    assert_eq!(names, ["mesh", "miner"]);
    assert_eq!(client.module_info("miner").unwrap(), Some(summary("miner", ModuleState::Failed)));
    assert_eq!(client.module_info("nobody").unwrap(), None);
    let available = ["mesh", "miner", "nobody"].map(|name| client.is_module_available(name).unwrap());
    assert_eq!(available, [true, false, false]);
    let health = ModuleHealth { state: HealthState::Degraded, message: "no peers".to_owned() };
    client.report_module_health(health.clone()).unwrap();
    assert_eq!(client.module_health("mesh").unwrap(), Some(health));
    assert_eq!(client.module_health("nobody").unwrap(), None);
    for health in [
        ModuleHealth { state: HealthState::Unresponsive, message: String::new() },
        ModuleHealth { state: HealthState::Healthy, message: "x".repeat(257) },
    ] {
        assert_eq!(rule(client.report_module_health(health)), ModuleRefusal::BadHealth);
    }
    let late = bus.module("late", &[], &[], Wishes::new());
    let loaded: Vec<_> = late.loaded_modules().iter().map(|module| &*module.name).collect();
    assert_eq!((loaded, late.config()), (vec!["mesh"], "name = \"late\"\n"));
}

#[test]
fn the_kinds_that_a_manifest_names_are_read_unless_the_code_says_otherwise() {
    let bus = Bus::new(RequestLimits::default());
    let read = |topics: Wishes| {
        let more = "[topics]\nsystem = { kinds = [\"NodeShutdown\"] }\n";
        let rights = [Permission::SubscribeEvents];
        let (mut session, _socket) = bus.module_as("reader", &rights, &[], more, topics);
        let mut feed = session.feed::<System>().unwrap();
        bus.topics.publish_system(&ModuleCrashed { name: "other".to_owned(), pid: 7, status: 1 });
        bus.topics.publish_system(&NodeShutdown { reason: "asked to".to_owned() });
        let mut kinds = Vec::new();
        while let Some(received) = feed.poll().unwrap() {
            kinds.push(received.kind());
        }
        kinds.dedup();
        kinds
    };
    let (crashed, shutdown) = (ModuleCrashed::NUMBER, NodeShutdown::NUMBER);
    assert_eq!(read(Wishes::new().with::<System>()), [shutdown]);
    assert_eq!(read(Wishes::new().with_kind::<ModuleCrashed>()), [crashed]);
    assert!(read(Wishes::new().with_all_kinds::<System>()).ends_with(&[crashed, shutdown]));
}
