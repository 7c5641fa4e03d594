//! Figures of modules.

use blvm_bus::request::{MetricsReply, MetricsRequest, ModuleMetrics, Refusal};

use crate::testing::node::Inner;
use crate::testing::party::Party;

impl Inner {
    /// Figures are checked as a node checks them.
    pub(super) fn metrics(
        &self,
        party: Option<&Party>,
        request: &MetricsRequest,
    ) -> Result<MetricsReply, Refusal> {
        let of = |party: &Party| ModuleMetrics {
            module: party.module.name.clone(),
            series: party.state().metrics.clone(),
        };
        match request {
            MetricsRequest::Report { series } => {
                for reported in series {
                    reported.check().map_err(|error| Refusal::Metric { message: error.to_string() })?;
                    let Some(party) = party else { continue };
                    let known = &mut party.state().metrics;
                    known.retain(|known| (&known.name, &known.labels) != (&reported.name, &reported.labels));
                    known.push(reported.clone());
                }
                Ok(MetricsReply::Noted)
            }
            MetricsRequest::GetModule { name } => {
                let parties = self.parties();
                let found = parties.iter().find(|party| party.module.name == *name);
                Ok(MetricsReply::Module(found.map(|party| of(party))))
            }
            MetricsRequest::GetAll => {
                Ok(MetricsReply::All(self.parties().iter().map(|party| of(party)).collect()))
            }
        }
    }
}
