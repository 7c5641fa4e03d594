//! Brings an async handler to its end, on the thread it was called on.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `future` to its end; other threads go on meanwhile.
///
/// With the feature `tokio` it runs in a runtime that all handlers of the module share: what needs one, works.
pub fn block_on<F: Future>(future: F) -> F::Output {
    #[cfg(feature = "tokio")]
    let _inside = runtime().enter();
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // A wake that came first makes it return at once.
        std::thread::park();
    }
}

/// Two threads: for timers, sockets and tasks that handlers start; the handlers themselves run on theirs.
#[cfg(feature = "tokio")]
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime takes two threads and some descriptors")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Ready when another thread says so.
    async fn from_another_thread() -> u32 {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut receiver = Some(receiver);
        std::future::poll_fn(move |context| {
            let waker = context.waker().clone();
            match receiver.take() {
                Some(first) => {
                    let sender = sender.clone();
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(5));
                        sender.send(7).unwrap();
                        waker.wake();
                    });
                    receiver = Some(first);
                    match receiver.as_ref().unwrap().recv_timeout(Duration::from_secs(60)) {
                        Ok(number) => Poll::Ready(number),
                        Err(_) => Poll::Pending,
                    }
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    #[test]
    fn a_future_that_waits_is_woken() {
        assert_eq!(block_on(from_another_thread()), 7);
        assert_eq!(block_on(async { 8 }), 8);
    }
}
