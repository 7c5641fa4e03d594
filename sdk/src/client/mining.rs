//! What a miner can ask.

use blvm_bus::message::Hash;
use blvm_bus::request::{
    BlockTemplate, BlockVerdict, CoinbaseConstraints, CoinbaseOutput, MiningReply, MiningRequest, Reply,
    Request, Solution, TemplateTransaction,
};

use super::{CallError, Client};

impl Client {
    /// A template of the best-paying transactions. Needs `mining_template`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_template(&mut self) -> Result<BlockTemplate, CallError> {
        self.mining(MiningRequest::GetBlockTemplate, |reply| match reply {
            MiningReply::Template(found) => Some(found),
            _ => None,
        })
    }

    /// The same with these outputs first in the coinbase. Needs `mining_template`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_template_with_outputs(
        &mut self,
        outputs: Vec<CoinbaseOutput>,
    ) -> Result<BlockTemplate, CallError> {
        self.mining(MiningRequest::GetBlockTemplateWithOutputs { outputs }, |reply| match reply {
            MiningReply::Template(found) => Some(found),
            _ => None,
        })
    }

    /// A template of exactly these mempool transactions, in this order. Needs `mining_template`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn block_template_declared(&mut self, wtxids: Vec<Hash>) -> Result<BlockTemplate, CallError> {
        self.mining(MiningRequest::GetBlockTemplateDeclared { wtxids }, |reply| match reply {
            MiningReply::Template(found) => Some(found),
            _ => None,
        })
    }

    /// What the coinbase must have room for, until it is said again or this module is gone. Needs `mining_template`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn set_coinbase_constraints(&mut self, constraints: CoinbaseConstraints) -> Result<(), CallError> {
        self.mining(MiningRequest::SetCoinbaseConstraints(constraints), |reply| match reply {
            MiningReply::ConstraintsSet => Some(()),
            _ => None,
        })
    }

    /// The transactions of a template with their bytes, in block order. Needs `mining_template`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn template_transactions(&mut self, template_id: u64) -> Result<Vec<TemplateTransaction>, CallError> {
        self.mining(MiningRequest::GetTemplateTransactions { template_id }, |reply| match reply {
            MiningReply::TemplateTransactions(found) => Some(found),
            _ => None,
        })
    }

    /// Puts a template and a solution together and offers the block. Needs `submit_block`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn submit_solution(&mut self, solution: Solution) -> Result<BlockVerdict, CallError> {
        self.mining(MiningRequest::SubmitSolution(solution), |reply| match reply {
            MiningReply::Verdict(found) => Some(found),
            _ => None,
        })
    }

    /// Offers a block in consensus encoding. Needs `submit_block`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn submit_block(&mut self, raw: Vec<u8>) -> Result<BlockVerdict, CallError> {
        self.mining(MiningRequest::SubmitBlock { raw }, |reply| match reply {
            MiningReply::Verdict(found) => Some(found),
            _ => None,
        })
    }

    /// Judges a block as if it were offered now, proof of work apart; changes nothing. Needs `mining_template`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn check_block(&mut self, raw: Vec<u8>) -> Result<BlockVerdict, CallError> {
        self.mining(MiningRequest::CheckBlock { raw }, |reply| match reply {
            MiningReply::Verdict(found) => Some(found),
            _ => None,
        })
    }

    /// Where topic `mining` has the current tip and template, for a module that has missed messages: `seek` the feed there.
    /// The node sends both again unless they are among the topic's last 16 messages. Needs `mining_template`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn repeat_tip_and_template(&mut self) -> Result<u64, CallError> {
        self.mining(MiningRequest::RepeatTipAndTemplate, |reply| match reply {
            MiningReply::TipAndTemplateAt { sequence } => Some(sequence),
            _ => None,
        })
    }

    fn mining<T>(
        &mut self,
        request: MiningRequest,
        take: impl FnOnce(MiningReply) -> Option<T>,
    ) -> Result<T, CallError> {
        self.get(&Request::Mining(Box::new(request)), |reply| match reply {
            Reply::Mining(reply) => take(*reply),
            _ => None,
        })
    }
}
