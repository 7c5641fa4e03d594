//! Calls of a node that is spoken for by hand.

use std::io::{Read, Write};

use blvm_bus::request::{
    Call, CallOutcome, CallReply, FRAME_HEAD_BYTES, FrameHead, HealthState, MAX_FRAME_BYTES, ModuleError,
    ModuleHealth, decode, encode,
};
use blvm_bus::wake::wake_socket_pair;

use super::*;

/// A session without topics, and the node's end of its socket.
fn attach_alone(wait: Wait) -> (UnixStream, OwnedFd, Session) {
    let (socket, module_socket) = UnixStream::pair().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let (wake, module_wake) = wake_socket_pair().unwrap();
    let session = Session {
        client: Client::new(module_socket),
        parker: Parker::new(module_wake).unwrap(),
        #[cfg(feature = "tokio")]
        async_parker: None,
        wait,
        mappings: HashMap::new(),
        starts_at_oldest: false,
        leases: None,
        network: "regtest".to_owned(),
        config: String::new(),
        config_origins: Vec::new(),
        module: String::new(),
        loaded: Vec::new(),
        attended: Instant::now(),
        reports: Reports::new(Instant::now()),
    };
    (socket, wake, session)
}

fn frame(is_call: bool, correlation: u64, archive: &[u8]) -> Vec<u8> {
    frame_for(is_call, correlation, archive, if is_call { 60_000 } else { 0 })
}

fn frame_for(is_call: bool, correlation: u64, archive: &[u8], deadline_ms: u32) -> Vec<u8> {
    let head = FrameHead {
        body_bytes: archive.len() as u32,
        descriptors: 0,
        is_in_memfd: false,
        is_call,
        correlation,
        deadline_ms,
    };
    [&head.encode()[..], archive].concat()
}

fn rpc(method: &str) -> Call {
    Call::Rpc { method: method.to_owned(), params: "{}".to_owned() }
}

fn send(node: &UnixStream, number: u64, call: &Call) {
    let mut node = node;
    node.write_all(&frame(true, number, &encode(call))).unwrap();
}

fn read(node: &UnixStream) -> (FrameHead, Vec<u8>) {
    let mut node = node;
    let mut head = [0; FRAME_HEAD_BYTES];
    node.read_exact(&mut head).unwrap();
    let head = FrameHead::decode(&head);
    let mut body = vec![0; head.body_bytes as usize];
    node.read_exact(&mut body).unwrap();
    (head, body)
}

/// Answers to calls; requests before them, which are reports, are acknowledged.
fn outcome(node: &UnixStream) -> (u64, CallOutcome) {
    loop {
        let (head, body) = read(node);
        if head.is_call {
            return (head.correlation, decode(&body).unwrap());
        }
        let mut node = node;
        node.write_all(&frame(false, head.correlation, &encode(&Reply::Noted))).unwrap();
    }
}

fn method(call: &ReceivedCall) -> String {
    match call.call() {
        Call::Rpc { method, .. } => method.clone(),
        other => panic!("another call: {other:?}"),
    }
}

#[test]
fn a_call_before_at_and_after_an_answer_is_never_taken_for_it() {
    let (node, _wake, mut session) = attach_alone(Wait::Park);
    // All in one piece: the numbers of the calls are those of the request.
    let asked = std::thread::spawn(move || {
        let (head, _) = read(&node);
        let tip = Reply::ChainTip(blvm_bus::request::ChainPosition { hash: [3; 32], height: 9 });
        let pieces = [
            frame(true, head.correlation, &encode(&rpc("before"))),
            frame(false, head.correlation, &encode(&tip)),
            frame(true, head.correlation + 1, &encode(&rpc("after"))),
        ];
        (&node).write_all(&pieces.concat()).unwrap();
        node
    });
    assert_eq!(session.client().chain_tip().unwrap().height, 9);
    let node = asked.join().unwrap();
    // Told of once, though nothing is left in the socket.
    session.wait(&[]).unwrap();
    let calls: Vec<_> = std::iter::from_fn(|| session.next_call().unwrap()).collect();
    assert_eq!(calls.iter().map(method).collect::<Vec<_>>(), ["before", "after"]);
    for call in calls {
        assert!(call.time_left() > Duration::from_secs(30));
        let result = CallReply::Rpc(method(&call));
        call.answer(Ok(result.clone())).unwrap();
        assert_eq!(outcome(&node).1, CallOutcome::Replied(result));
    }
}

#[test]
fn a_question_after_health_that_came_with_an_answer_is_answered_before_the_module_sleeps() {
    let (node, _wake, mut session) = attach_alone(Wait::Park);
    // Calls were looked for just now, and so are not again.
    session.attended = Instant::now() + 2 * LIMIT;
    let asked = std::thread::spawn(move || {
        let (head, _) = read(&node);
        let tip = Reply::ChainTip(blvm_bus::request::ChainPosition { hash: [3; 32], height: 9 });
        let pieces = [frame(true, 5, &encode(&Call::Health)), frame(false, head.correlation, &encode(&tip))];
        (&node).write_all(&pieces.concat()).unwrap();
        assert!(matches!(outcome(&node), (5, CallOutcome::Replied(CallReply::Health(_)))));
        send(&node, 6, &rpc("end"));
        node
    });
    session.client().chain_tip().unwrap();
    while session.next_call().unwrap().is_none() {
        session.wait(&[]).unwrap();
    }
    asked.join().unwrap();
}

#[test]
fn a_call_wakes_whatever_the_module_waits_for_and_however_it_waits() {
    for wait in [Wait::Park, Wait::SpinThenPark, Wait::Spin] {
        let (node, _wake, mut session) = attach_alone(wait);
        let caller = std::thread::spawn(move || {
            for number in 1..=50 {
                send(&node, number, &rpc("again"));
                let (answered, found) = outcome(&node);
                assert_eq!((answered, found), (number, CallOutcome::Failed(ModuleError::Unanswered)));
            }
        });
        let start = Instant::now();
        while !caller.is_finished() && start.elapsed() < LIMIT {
            // Let go without an answer.
            drop(session.next_call().unwrap());
            if !caller.is_finished() {
                match session.wait(&[]) {
                    Ok(()) => {}
                    // The caller has ended.
                    Err(SessionError::Call(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        caller.join().unwrap();
    }
}

#[test]
fn a_module_that_never_waits_answers_health_where_it_attends_and_loses_no_call() {
    let (node, _wake, mut session) = attach_alone(Wait::Park);
    session.attended = Instant::now().checked_sub(2 * CALLS).unwrap();
    send(&node, 1, &Call::Health);
    send(&node, 2, &rpc("later"));
    let node = std::thread::spawn(move || {
        let (head, body) = read(&node);
        assert!(!head.is_call && matches!(decode(&body), Ok(Request::ReportStatistics(_))));
        (&node).write_all(&frame(false, head.correlation, &encode(&Reply::Noted))).unwrap();
        assert!(matches!(outcome(&node), (1, CallOutcome::Replied(CallReply::Health(_)))));
        node
    });
    session.attend(&[]).unwrap();
    let _node = node.join().unwrap();
    // It came by the way, and a wait returns for it at once.
    session.wait(&[]).unwrap();
    assert!(session.next_call().unwrap().is_some());
}

#[test]
fn health_is_answered_where_the_module_waits_and_the_stop_at_once() {
    let (node, _wake, mut session) = attach_alone(Wait::Park);
    send(&node, 1, &Call::Health);
    assert!(session.next_call().unwrap().is_none());
    node.set_nonblocking(true).unwrap();
    let silence = (&node).read(&mut [0; 1]).unwrap_err();
    assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
    node.set_nonblocking(false).unwrap();
    let health = ModuleHealth { state: HealthState::Degraded, message: "ä".repeat(200) };
    session.set_health(health);
    let node = std::thread::spawn(move || {
        // Whoever hears how the module does knows what it has read.
        let (head, body) = read(&node);
        assert!(!head.is_call && matches!(decode(&body), Ok(Request::ReportStatistics(_))));
        (&node).write_all(&frame(false, head.correlation, &encode(&Reply::Noted))).unwrap();
        let (head, body) = read(&node);
        assert!(head.is_call);
        let CallOutcome::Replied(CallReply::Health(health)) = decode(&body).unwrap() else {
            panic!("no health")
        };
        // Cut between two letters of two bytes each.
        assert_eq!((health.state, health.message.len()), (HealthState::Degraded, 256));
        send(&node, 2, &Call::Stop { deadline_ms: 1_000 });
        node
    });
    assert!(!session.is_stopping());
    while !session.is_stopping() {
        session.wait(&[]).unwrap();
    }
    let node = node.join().unwrap();
    assert_eq!(outcome(&node), (2, CallOutcome::Replied(CallReply::Stopping)));
}

#[test]
fn a_call_that_nobody_answers_fails_with_the_reason_and_too_many_are_refused() {
    let (node, _wake, mut session) = attach_alone(Wait::Park);
    send(&node, 1, &rpc("panics"));
    let call = session.next_call().unwrap().unwrap();
    let handler = std::thread::spawn(move || {
        let _call = call;
        panic!("expected: the test wants it");
    });
    assert!(handler.join().is_err());
    assert!(matches!(outcome(&node), (1, CallOutcome::Failed(ModuleError::Panicked { .. }))));

    send(&node, 2, &rpc("unknown"));
    session.next_call().unwrap().unwrap().refuse_unknown().unwrap();
    let unknown = CallOutcome::Failed(ModuleError::UnknownMethod { name: "unknown".to_owned() });
    assert_eq!(outcome(&node), (2, unknown));

    send(&node, 3, &rpc("long"));
    let long = CallReply::Rpc("x".repeat(MAX_FRAME_BYTES));
    session.next_call().unwrap().unwrap().answer(Ok(long)).unwrap();
    assert!(matches!(outcome(&node), (3, CallOutcome::Failed(ModuleError::AnswerTooLong { .. }))));

    for number in 10..43 {
        send(&node, number, &rpc("waits"));
    }
    session.look_for_calls().unwrap();
    assert_eq!(outcome(&node), (42, CallOutcome::Failed(ModuleError::Busy { limit: 32 })));
}

#[test]
fn calls_of_modules_keep_the_operators_neither_out_nor_back_and_those_given_up_make_room() {
    let (node, _wake, mut session) = attach_alone(Wait::Park);
    let api = |from: u64| Call::Api {
        caller: format!("other-{from}"),
        method: "ask".to_owned(),
        payload: Vec::new(),
    };
    for number in 0..9 {
        send(&node, 10 + number, &api(0));
    }
    session.look_for_calls().unwrap();
    assert_eq!(outcome(&node), (18, CallOutcome::Failed(ModuleError::Busy { limit: 8 })));
    for number in 8..32 {
        send(&node, 20 + number, &api(number / 8));
    }
    send(&node, 60, &rpc("operator"));
    let first = session.next_call().unwrap().unwrap();
    assert_eq!(first.call(), &rpc("operator"));
    let second = session.next_call().unwrap().unwrap();
    assert_eq!(second.call(), &api(0), "then the oldest");
    drop((first, second));
    assert_eq!([outcome(&node).0, outcome(&node).0], [60, 10]);

    let (node, _wake, mut session) = attach_alone(Wait::Park);
    for number in 0..8 {
        // Its caller has gone already: in the node it takes no place any more.
        (&node).write_all(&frame_for(true, number, &encode(&api(0)), 0)).unwrap();
    }
    session.look_for_calls().unwrap();
    send(&node, 8, &api(0));
    session.look_for_calls().unwrap();
    let unanswered = CallOutcome::Failed(ModuleError::Unanswered);
    assert!((0..8).all(|number| outcome(&node) == (number, unanswered.clone())));
    assert_eq!(session.next_call().unwrap().unwrap().call(), &api(0));
}

#[test]
fn a_message_is_finished_when_the_next_is_asked_for_or_when_the_module_says_so() {
    let (node, mut session) = attach(Topics::new().with::<System>(), Wait::Park);
    let mut feed = session.feed::<System>().unwrap();
    for _ in 0..4 {
        publish_wanted(&node);
    }
    assert_eq!(feed.processed_through(), 0);
    feed.poll().unwrap().unwrap();
    assert_eq!(feed.processed_through(), 0);
    feed.poll().unwrap().unwrap();
    assert_eq!(feed.statistics().processed_through, 1);
    // The second is held from here on too.
    feed.hold();
    feed.poll().unwrap().unwrap();
    feed.poll().unwrap().unwrap();
    assert!(feed.poll().unwrap().is_none());
    assert_eq!(feed.processed_through(), 1);
    feed.finished(3);
    assert_eq!(feed.processed_through(), 1);
    feed.finished(2);
    assert_eq!(feed.processed_through(), 3);
    feed.finished(4);
    assert_eq!(feed.processed_through(), 4);
    session.finish(&[&feed]).unwrap();
    let told = take_reports(&node).pop().unwrap();
    assert_eq!(told.topics[0].processed_through, 4);
}

#[cfg(feature = "tokio")]
#[test]
fn a_call_wakes_a_task() {
    let (node_of_topic, mut session) = attach(wants_shutdown(), Wait::Park);
    let feed = session.feed::<System>().unwrap();
    let (node, module_socket) = UnixStream::pair().unwrap();
    // The node's own stays open: its wakes come over it.
    let _of_node = std::mem::replace(&mut session.client, Client::new(module_socket));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let caller = std::thread::spawn(move || {
        for number in 1..=50 {
            send(&node, number, &rpc("again"));
            assert_eq!(outcome(&node).0, number);
        }
        node
    });
    runtime.block_on(async {
        let start = Instant::now();
        let mut answered = 0;
        while answered < 50 && start.elapsed() < LIMIT {
            while let Some(call) = session.next_call().unwrap() {
                call.refuse_unknown().unwrap();
                answered += 1;
            }
            // With a topic and without one.
            if answered < 50 {
                let feeds: &[&dyn AnyFeed] = if answered < 25 { &[&feed] } else { &[] };
                session.wait_async(feeds).await.unwrap();
            }
        }
        assert_eq!(answered, 50);
    });
    publish_wanted(&node_of_topic);
    caller.join().unwrap();
}
