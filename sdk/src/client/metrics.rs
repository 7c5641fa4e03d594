//! Figures of modules.

use blvm_bus::request::{MetricSeries, MetricsReply, MetricsRequest, ModuleMetrics, Reply, Request};

use super::{CallError, Client};

impl Client {
    /// Reports figures of the module's own: the node keeps the last value of each series and shows it. Handlers have an easier
    /// way: [`Start::metrics`](crate::module::Start::metrics). Needs `report_metrics`.
    ///
    /// # Errors
    ///
    /// [`CallError`]; refused with `Metric` or `Limit` is a batch with something wrong in it, and none of it was taken.
    pub fn report_metrics(&mut self, series: Vec<MetricSeries>) -> Result<(), CallError> {
        self.metrics(MetricsRequest::Report { series }, |reply| match reply {
            MetricsReply::Noted => Some(()),
            _ => None,
        })
    }

    /// What module `name` reports; `None` if no module of that name is loaded. Needs `read_metrics`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn module_metrics(&mut self, name: &str) -> Result<Option<ModuleMetrics>, CallError> {
        self.metrics(MetricsRequest::GetModule { name: name.to_owned() }, |reply| match reply {
            MetricsReply::Module(metrics) => Some(metrics),
            _ => None,
        })
    }

    /// What all modules report, by name. Needs `read_metrics`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn all_metrics(&mut self) -> Result<Vec<ModuleMetrics>, CallError> {
        self.metrics(MetricsRequest::GetAll, |reply| match reply {
            MetricsReply::All(metrics) => Some(metrics),
            _ => None,
        })
    }

    fn metrics<T>(
        &mut self,
        request: MetricsRequest,
        take: impl FnOnce(MetricsReply) -> Option<T>,
    ) -> Result<T, CallError> {
        let request = Request::Metrics(Box::new(request));
        self.get(&request, |reply| match reply {
            Reply::Metrics(reply) => take(*reply),
            _ => None,
        })
    }
}
