//! What the node answers where the test programs nothing: what its chain, its mempool and its peers say.

mod chain;
mod mempool;
mod metrics;
mod modules;

use std::time::Duration;

use blvm_bus::message::Topic;
use blvm_bus::message::mining::Mining;
use blvm_bus::message::peers::Peers;
use blvm_bus::request::{
    Block, MiningRefusal, MiningReply, MiningRequest, NetworkPeers, NetworkReply, NetworkRequest,
    NetworkStats, Refusal, Reply, Request,
};

use super::chain::ScriptedBlock;
use super::node::Inner;
use super::party::Party;
use super::world::World;

pub use mempool::Removal;

impl Inner {
    /// The usual answer.
    pub(crate) fn answer(&self, party: Option<&Party>, request: &Request, deadline: Duration) -> Reply {
        let answered = match request {
            Request::Modules(request) => {
                return self
                    .modules(party, request, deadline)
                    .map_or_else(Reply::Refused, |reply| Reply::Modules(Box::new(reply)));
            }
            Request::Metrics(request) => {
                self.metrics(party, request).map(|reply| Reply::Metrics(Box::new(reply)))
            }
            request => self.world().answer(request),
        };
        answered.unwrap_or_else(Reply::Refused)
    }
}

/// What only the test can know.
fn unsupported(request: &Request) -> Refusal {
    let name = request.name();
    let node_source = format!("of this test (say what it answers: node.when(\"{name}\").answer(…))");
    Refusal::Unsupported { request: name.to_owned(), node_source }
}

fn stored(block: &ScriptedBlock) -> Block {
    Block { hash: block.position.hash, height: block.position.height, raw: block.raw.clone() }
}

impl World {
    fn answer(&mut self, request: &Request) -> Result<Reply, Refusal> {
        match request {
            Request::GetChainTip => Ok(Reply::ChainTip(self.chain.tip().position)),
            Request::GetBlock { hash } => {
                let found = self.chain.block(hash).filter(|block| self.chain.is_active(&block.position));
                Ok(Reply::Block(found.map(stored)))
            }
            Request::GetBlockByHeight { height } => {
                Ok(Reply::Block(self.chain.at_height(*height).map(stored)))
            }
            Request::GetMempoolTransactions => Ok(Reply::MempoolTransactions(self.mempool.clone())),
            Request::SubmitMempoolTransaction { raw } => {
                let entry =
                    self.offered(raw).map_err(|(rule, message)| Refusal::Transaction { rule, message })?;
                let txid = entry.txid;
                self.add(entry);
                Ok(Reply::Submitted { txid })
            }
            Request::Chain(asked) => self.chain_reply(asked).map(|reply| Reply::Chain(Box::new(reply))),
            Request::Mempool(asked) => {
                self.mempool_reply(asked, request).map(|reply| Reply::Mempool(Box::new(reply)))
            }
            Request::Mining(asked) => match **asked {
                MiningRequest::RepeatTipAndTemplate => {
                    let sequence = self.start_sequence(Mining::NUMBER);
                    Ok(Reply::Mining(Box::new(MiningReply::TipAndTemplateAt { sequence })))
                }
                MiningRequest::SetCoinbaseConstraints(_) => {
                    Ok(Reply::Mining(Box::new(MiningReply::ConstraintsSet)))
                }
                MiningRequest::GetBlockTemplate if let Some((_, template)) = &self.template => {
                    Ok(Reply::Mining(Box::new(MiningReply::Template(template.template.clone()))))
                }
                MiningRequest::GetTemplateTransactions { template_id } => {
                    let found = self.template.as_ref().map(|(_, template)| template);
                    let found =
                        found.filter(|template| template.template.id == template_id).ok_or_else(|| {
                            let message = format!("template {template_id} is not known, or not any more");
                            Refusal::Mining {
                                rule: MiningRefusal::UnknownTemplate,
                                message,
                                wtxids: Vec::new(),
                            }
                        })?;
                    Ok(Reply::Mining(Box::new(MiningReply::TemplateTransactions(found.transactions()))))
                }
                _ => Err(unsupported(request)),
            },
            Request::Network(asked) => match **asked {
                NetworkRequest::GetPeers => {
                    let next_sequence = self.next_sequence::<Peers>();
                    let peers = NetworkPeers { peers: self.peers.clone(), next_sequence };
                    Ok(Reply::Network(Box::new(NetworkReply::Peers(peers))))
                }
                NetworkRequest::GetStats => {
                    let inbound = self.peers.iter().filter(|peer| peer.is_inbound).count() as u32;
                    let outbound = self.peers.len() as u32 - inbound;
                    let stats = NetworkStats { inbound, outbound, ..NetworkStats::default() };
                    Ok(Reply::Network(Box::new(NetworkReply::Stats(stats))))
                }
                _ => Err(unsupported(request)),
            },
            _ => Err(unsupported(request)),
        }
    }
}
