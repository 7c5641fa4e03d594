//! Commands on the standard input.

use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use bitcoin::ScriptBuf;
use tokio::sync::mpsc;

use super::assembly::Assembly;
use super::status;
use crate::embedded::EmbeddedNode;

/// Longest command line, in bytes.
const MAX_LINE_BYTES: u64 = 1024;

const HELP: &str = "commands: mine [N] (1 to 1000 blocks), pay [N] (1 to 1000 payments), reorganise DEPTH, clear-mempool, status, stop, help";

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Mine { blocks: u32 },
    Pay { payments: u32 },
    Reorganise { depth: u32 },
    ClearMempool,
    Status,
    Help,
    Stop,
}

/// Reads commands until the input ends.
pub(crate) struct Operator {
    commands: mpsc::Receiver<Command>,
}

impl Operator {
    /// Starts to listen, on a thread that ends with the input or the process.
    pub(crate) fn listen() -> Self {
        let (sender, commands) = mpsc::channel(16);
        let listen = std::thread::Builder::new().name("blvm-operator".to_owned());
        if let Err(error) = listen.spawn(move || read_commands(&mut std::io::stdin().lock(), &sender)) {
            tracing::warn!(%error, "no thread to listen for commands");
        }
        Operator { commands }
    }

    /// The next command; waits for ever once the input has ended.
    pub(crate) async fn next(&mut self) -> Command {
        match self.commands.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        }
    }
}

/// Passes commands on until the input ends, which is no command: a node without a terminal runs on.
fn read_commands(input: &mut impl BufRead, commands: &mpsc::Sender<Command>) {
    let mut line = Vec::new();
    let mut is_rest = false;
    loop {
        line.clear();
        match Read::take(&mut *input, MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let is_whole = line.last() == Some(&b'\n') || (line.len() as u64) < MAX_LINE_BYTES;
        // An overlong line is refused once, and its rest is no command.
        let outcome =
            if is_rest || !is_whole { Err(()) } else { parse(String::from_utf8_lossy(&line).trim()) };
        match outcome {
            Ok(Some(command)) if commands.blocking_send(command).is_err() => return,
            Ok(_) => {}
            Err(()) if is_rest => {}
            Err(()) => eprintln!("{HELP}"),
        }
        is_rest = !is_whole;
    }
}

fn parse(line: &str) -> Result<Option<Command>, ()> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        [] => Ok(None),
        ["mine"] => Ok(Some(Command::Mine { blocks: 1 })),
        ["mine", blocks] => match blocks.parse() {
            Ok(blocks @ 1..=1000) => Ok(Some(Command::Mine { blocks })),
            _ => Err(()),
        },
        ["pay"] => Ok(Some(Command::Pay { payments: 1 })),
        ["pay", payments] => match payments.parse() {
            Ok(payments @ 1..=1000) => Ok(Some(Command::Pay { payments })),
            _ => Err(()),
        },
        ["reorganise", depth] => {
            depth.parse().map(|depth| Some(Command::Reorganise { depth })).map_err(|_| ())
        }
        ["clear-mempool"] => Ok(Some(Command::ClearMempool)),
        ["status"] => Ok(Some(Command::Status)),
        ["help"] => Ok(Some(Command::Help)),
        ["stop"] => Ok(Some(Command::Stop)),
        _ => Err(()),
    }
}

/// Does what was asked; breaks if the node shall stop. What cannot be done is said, and the node goes on.
pub(crate) async fn carry_out(command: Command, assembly: &Assembly, payout: &ScriptBuf) -> ControlFlow<()> {
    let outcome = match command {
        Command::Mine { blocks } => {
            let mine = move |node: &EmbeddedNode, payout: &ScriptBuf| {
                (0..blocks).try_for_each(|_| node.mine_block(payout).map(|_| ()))
            };
            assembly.on_node(payout, mine).await
        }
        Command::Pay { payments } => match assembly.wallet() {
            Ok(wallet) => {
                assembly.on_node(payout, move |node, _| super::pay::pay(node, wallet, payments)).await
            }
            Err(error) => Err(error),
        },
        Command::Reorganise { depth } => {
            let reorganise =
                move |node: &EmbeddedNode, payout: &ScriptBuf| node.reorganise(depth, payout).map(|_| ());
            assembly.on_node(payout, reorganise).await
        }
        Command::ClearMempool => {
            let clear = |node: &EmbeddedNode, _: &ScriptBuf| {
                node.clear_mempool();
                Ok::<(), super::RunError>(())
            };
            assembly.on_node(payout, clear).await
        }
        Command::Status => status::print(&assembly.status(), false),
        Command::Help => {
            eprintln!("{HELP}");
            Ok(())
        }
        Command::Stop => return ControlFlow::Break(()),
    };
    if let Err(error) = outcome {
        super::cli::complain(&error);
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_bytes_and_overlong_lines_are_refused_and_the_next_command_is_taken() {
        let (sender, mut commands) = mpsc::channel(16);
        let long = [b"mine ".repeat(1000), b"\n".to_vec()].concat();
        let input = [&b"\xff\xfe\n"[..], &long, b"stop\n", b"mine 2"].concat();
        read_commands(&mut &input[..], &sender);
        assert_eq!(commands.try_recv(), Ok(Command::Stop));
        assert_eq!(commands.try_recv(), Ok(Command::Mine { blocks: 2 }));
        assert!(commands.try_recv().is_err());
    }

    #[test]
    fn commands_are_understood_and_mistakes_refused() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("mine"), Ok(Some(Command::Mine { blocks: 1 })));
        assert_eq!(parse("mine 1000"), Ok(Some(Command::Mine { blocks: 1000 })));
        assert_eq!(parse("clear-mempool"), Ok(Some(Command::ClearMempool)));
        assert_eq!(parse(" reorganise  2 "), Ok(Some(Command::Reorganise { depth: 2 })));
        assert_eq!(parse("pay"), Ok(Some(Command::Pay { payments: 1 })));
        assert_eq!(parse("pay 7"), Ok(Some(Command::Pay { payments: 7 })));
        for mistake in [
            "pay 0",
            "pay 1001",
            "pay a",
            "mine 0",
            "mine 1001",
            "mine x",
            "reorganise",
            "reorganise -1",
            "dance",
            "mine 1 2",
        ] {
            assert_eq!(parse(mistake), Err(()), "{mistake}");
        }
    }
}
