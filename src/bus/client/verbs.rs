//! The verbs: calls that change something.
//!
//! Those that make a job subscribe first, so that [`Client::wait_for_job`] cannot miss its end.

use zbus::Variant;

use crate::bus::client::{Client, ClientError, JobPath, body, none, read_path};
use crate::engine::event::{JobMode, Whom};
use crate::name::{JobId, UnitName};

impl Client {
    /// `StartUnit`. Subscribes first, so that [`Client::wait_for_job`] cannot miss the end.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn start_unit(&self, name: &UnitName, mode: JobMode) -> Result<JobPath, ClientError> {
        self.job("StartUnit", &(name.as_str(), mode.as_str(), none()))
            .await
    }

    /// `StopUnit`; `force` stops also the units that need it.
    ///
    /// # Errors
    /// `NeededByOthers` without `force`, and as the daemon says.
    pub async fn stop_unit(
        &self,
        name: &UnitName,
        mode: JobMode,
        force: bool,
    ) -> Result<JobPath, ClientError> {
        let mut options = none();
        if force {
            options.insert("force", Variant::from(true));
        }
        self.job("StopUnit", &(name.as_str(), mode.as_str(), options))
            .await
    }

    /// `RestartUnit`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn restart_unit(
        &self,
        name: &UnitName,
        mode: JobMode,
    ) -> Result<JobPath, ClientError> {
        self.job("RestartUnit", &(name.as_str(), mode.as_str(), none()))
            .await
    }

    /// `TryRestartUnit`: where it does not run there is no job.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn try_restart_unit(
        &self,
        name: &UnitName,
        mode: JobMode,
    ) -> Result<JobPath, ClientError> {
        self.job("TryRestartUnit", &(name.as_str(), mode.as_str(), none()))
            .await
    }

    /// `ReloadUnit`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn reload_unit(
        &self,
        name: &UnitName,
        mode: JobMode,
    ) -> Result<JobPath, ClientError> {
        self.job("ReloadUnit", &(name.as_str(), mode.as_str(), none()))
            .await
    }

    /// `ReloadOrRestartUnit`, or `ReloadOrTryRestartUnit`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn reload_or_restart_unit(
        &self,
        name: &UnitName,
        mode: JobMode,
        only_running: bool,
    ) -> Result<JobPath, ClientError> {
        let member = if only_running {
            "ReloadOrTryRestartUnit"
        } else {
            "ReloadOrRestartUnit"
        };
        self.job(member, &(name.as_str(), mode.as_str(), none()))
            .await
    }

    /// `StartTransientUnit`: directives in unit-file words with their values.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn start_transient_unit(
        &self,
        name: &UnitName,
        mode: JobMode,
        properties: &[(String, Vec<String>)],
    ) -> Result<JobPath, ClientError> {
        let properties: Vec<(&str, Variant<'_>)> = properties
            .iter()
            .map(|(key, values)| (key.as_str(), Variant::from(values)))
            .collect();
        let aux: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        self.job(
            "StartTransientUnit",
            &(name.as_str(), mode.as_str(), properties, aux),
        )
        .await
    }

    async fn job<B>(&self, member: &str, arguments: &B) -> Result<JobPath, ClientError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.ensure_subscribed().await?;
        read_path(&self.manager(member, arguments).await?).map(JobPath)
    }

    /// `KillUnit`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn kill_unit(
        &self,
        name: &UnitName,
        whom: Whom,
        signal: i32,
    ) -> Result<(), ClientError> {
        let whom = match whom {
            Whom::Main => "main",
            Whom::Control => "control",
            Whom::All => "all",
        };
        self.manager("KillUnit", &(name.as_str(), whom, signal, none()))
            .await
            .map(drop)
    }

    /// `ResetFailedUnit`, or `ResetFailed` for every unit.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn reset_failed(&self, name: Option<&UnitName>) -> Result<(), ClientError> {
        match name {
            Some(name) => {
                self.manager("ResetFailedUnit", &(name.as_str(), none()))
                    .await
            }
            None => self.manager("ResetFailed", &(none(),)).await,
        }
        .map(drop)
    }

    /// `Pause`: freezes the agent; the job ends when the kernel says so.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn pause(&self, name: &UnitName, reason: &str) -> Result<JobPath, ClientError> {
        self.ensure_subscribed().await?;
        let mut options = none();
        if !reason.is_empty() {
            options.insert("reason", Variant::from(reason));
        }
        read_path(&self.agent(name, "Pause", &("freeze", options)).await?).map(JobPath)
    }

    /// `Resume`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn resume(&self, name: &UnitName) -> Result<JobPath, ClientError> {
        self.ensure_subscribed().await?;
        read_path(&self.agent(name, "Resume", &(none(),)).await?).map(JobPath)
    }

    /// `SendInput`: the message's number.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn send_input(&self, name: &UnitName, text: &str) -> Result<u64, ClientError> {
        let reply = self.agent(name, "SendInput", &(text, none())).await?;
        let (id,): (u64,) = body(&reply)?;
        Ok(id)
    }

    /// `CancelJob`.
    ///
    /// # Errors
    /// `NoSuchJob`.
    pub async fn cancel_job(&self, id: JobId) -> Result<(), ClientError> {
        self.manager("CancelJob", &(id.0, none())).await.map(drop)
    }

    /// `Reload`: unit files are read again; what runs goes on.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn reload(&self) -> Result<(), ClientError> {
        self.manager("Reload", &(none(),)).await.map(drop)
    }

    /// `StartRecording`, `StopRecording`: of every event, for `aetherctl replay`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn record(&self, on: bool) -> Result<(), ClientError> {
        let member = if on {
            "StartRecording"
        } else {
            "StopRecording"
        };
        self.manager(member, &(none(),)).await.map(drop)
    }

    /// `Reexecute`: the daemon is replaced with everything running.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn reexecute(&self) -> Result<(), ClientError> {
        self.manager("Reexecute", &(none(),)).await.map(drop)
    }

    /// `Shutdown`: every unit is stopped, then the daemon.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        self.manager("Shutdown", &(none(),)).await.map(drop)
    }
}
