//! There, one module could be connected at a time, and one that connected and closed ended the server.

use blvm_bus::request::connect_path;
use blvm_sdk::{Chain, Topics};

use crate::served::Served;

#[test]
fn upstream_fault_01_many_are_connected_at_once_and_who_closes_ends_only_itself() {
    let served = Served::start();
    let chain = || Topics::new().with::<Chain>();
    let mut sessions: Vec<_> = (0..4).map(|_| served.attach(chain())).collect();
    let mut feeds: Vec<_> = sessions.iter_mut().map(|session| session.feed::<Chain>().unwrap()).collect();
    // Some connect and close: without a word, in the middle of a head, and after they have attached.
    for _ in 0..20 {
        drop(connect_path(served.directory()).unwrap());
        let mut half = connect_path(served.directory()).unwrap();
        std::io::Write::write_all(&mut half, &[1, 0, 0]).unwrap();
        drop(half);
        drop(served.attach(chain()));
    }
    drop((sessions.remove(0), feeds.remove(0)));
    let payout = bitcoin::ScriptBuf::new();
    served.node.mine_block(&payout).unwrap();
    for (session, feed) in sessions.iter_mut().zip(&mut feeds) {
        while feed.poll().unwrap().is_none() {
            session.wait(&[&*feed]).unwrap();
        }
        assert_eq!(session.client().chain_tip().unwrap().height, 1);
    }
    assert_eq!(served.attach(chain()).client().chain_tip().unwrap().height, 1);
}
