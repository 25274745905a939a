#!/usr/bin/env bash
# A SLURM of one node, for tests: `slurm.sh start FOLDER` prints what to put into the environment, `slurm.sh stop FOLDER`
# ends it. All that it writes is in the folder; it needs root (or a container's), slurmctld, slurmd and munged:
# `apt-get install slurm-wlm munge`. Jobs run as root, and nothing keeps them to their memory: for tests only.
set -euo pipefail

what=${1:?start or stop}
folder=$(realpath -m "${2:?a folder}")
export PATH=$PATH:/usr/sbin
export SLURM_CONF=$folder/slurm.conf

start() {
  mkdir -p "$folder"/{state,spool,munge}
  chmod 700 "$folder/munge"
  head -c 1024 /dev/urandom > "$folder/munge/key"
  chmod 600 "$folder/munge/key"
  # Its socket is for every user; its folder may not be one that others write into.
  munged --force --num-threads 2 --key-file "$folder/munge/key" --socket "$folder/munge/socket" \
    --pid-file "$folder/munge/pid" --log-file "$folder/munge/log" --seed-file "$folder/munge/seed"
  cat > "$SLURM_CONF" << END
ClusterName=tests
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=${SLURM_TEST_PORT:-26817}
SlurmdPort=$((${SLURM_TEST_PORT:-26817} + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# Nothing of systemd or control groups, which containers often lack.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=300
SchedulerParameters=batch_sched_delay=1,sched_interval=2,sched_min_interval=100000
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  slurmctld
  slurmd -N "$(hostname -s)" 2> "$folder/slurmd.err" || slurmd
  for _ in $(seq 100); do
    [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ] && break
    sleep 0.2
  done
  [ "$(sinfo --noheader --format=%T)" = idle ] || { cat "$folder"/slurm*.log >&2; exit 1; }
  echo "SLURM_CONF=$SLURM_CONF"
}

stop() {
  if [ -f "$SLURM_CONF" ]; then
    scancel --me 2> /dev/null || true
    for _ in $(seq 50); do
      [ -z "$(squeue --noheader 2> /dev/null)" ] && break
      sleep 0.2
    done
  fi
  for pid in "$folder/slurmd.pid" "$folder/slurmctld.pid" "$folder/munge/pid"; do
    if [ -s "$pid" ]; then kill "$(cat "$pid")" 2> /dev/null || true; fi
  done
}

case $what in
  start) start ;;
  stop) stop ;;
  *) echo "expected start or stop, got $what" >&2; exit 2 ;;
esac
