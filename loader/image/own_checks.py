"""What set functions of modules' own take, for the parameters that people set most.

A module's code does not run here, so that what such a function (module_param_cb, module_param_call)
refuses has to be known from its source: that of Debian's 6.12 and 7.3, in which all of these are
alike. Which parameters have such a function the module's file tells, and only then is this asked.
"""

from __future__ import annotations

from errno import EINVAL, ERANGE
from typing import NamedTuple

ANY = "any"
"""In the place of a type: each text is taken."""


class OwnCheck(NamedTuple):
    """One set function.

    ``type``: as which values are read, as loader.image.parameter_types has them; "": only words.
    ``low``, ``high``: of a number, outside of which the error is ``outside``. ``decimal``: numbers
    have no prefix. ``refused``: the errno of all that is not taken, 0: of each its own. ``words``:
    texts that are taken besides, ``begins``: and all that begins with one. ``newline``: a text may
    end with one.
    """

    source: str
    type: str = ""
    low: int | None = None
    high: int | None = None
    decimal: bool = False
    outside: int = EINVAL
    refused: int = 0
    words: tuple[str, ...] = ()
    begins: bool = False
    newline: bool = True


_NVMET = "drivers/nvme/target/tcp.c, param_store_val"
_NULL = "drivers/block/null_blk/main.c, null_param_store_val"
_ISER = "drivers/infiniband/ulp/iser/iscsi_iser.c, iscsi_iser_set"
_FUSE = "fs/fuse/inode.c, set_global_limit"
_XPRT = "net/sunrpc/xprtsock.c, "
_LOCKD = "fs/lockd/svc.c, param_set_min_max"
_KVM = "arch/x86/kvm/mmu/mmu.c, "
_PORTS = OwnCheck("net/netfilter/nf_nat_ftp.c and nf_nat_irc.c, warn_set", ANY)
_RESVPORT = OwnCheck(_XPRT + "param_set_portnr", "uint", 1, 65535)
_SLOTS = OwnCheck(_XPRT + "param_set_slot_table_size", "uint", 2, 65536)
# Not more than the machine has processors, which is not looked at.
_QUEUES = OwnCheck(
    "drivers/nvme/host/pci.c, io_queue_count_set", "uint", decimal=True, refused=EINVAL
)
_HANDSHAKE = ((1 << 32) - 1) // 1000  # seconds, UINT_MAX / MSEC_PER_SEC
_INT_MAX = (1 << 31) - 1

OWN_CHECKS: dict[tuple[str, str], OwnCheck] = {
    ("button", "lid_init_state"): OwnCheck(
        "drivers/acpi/button.c, param_set_lid_init_state",
        words=("ignore", "open", "method", "disabled"),
    ),
    ("binder_linux", "stop_on_user_error"): OwnCheck(
        "drivers/android/binder.c, binder_set_stop_on_user_error", "int"
    ),
    ("bq27xxx_battery", "poll_interval"): OwnCheck(
        "drivers/power/supply/bq27xxx_battery.c, poll_interval_param_set", "uint"
    ),
    ("ceph", "disable_send_metrics"): OwnCheck("fs/ceph/super.c, param_set_metrics", "bool"),
    ("efi_pstore", "pstore_disable"): OwnCheck(
        "drivers/firmware/efi/efi-pstore.c, efi_pstore_disable_set", "bool"
    ),
    ("fuse", "max_user_bgreq"): OwnCheck(_FUSE, "uint"),
    ("fuse", "max_user_congthresh"): OwnCheck(_FUSE, "uint"),
    ("ib_iser", "max_lun"): OwnCheck(_ISER, "uint", 1, decimal=True, refused=EINVAL),
    ("ib_iser", "max_sectors"): OwnCheck(_ISER, "uint", 1, decimal=True, refused=EINVAL),
    ("intel_powerclamp", "duration"): OwnCheck(
        "drivers/thermal/intel/intel_powerclamp.c, duration_set", "ulong", 6, 25, decimal=True
    ),
    ("intel_powerclamp", "window_size"): OwnCheck(
        "drivers/thermal/intel/intel_powerclamp.c, window_size_set", "ulong", 2, 10, decimal=True
    ),
    ("ipmi_msghandler", "panic_op"): OwnCheck(
        "drivers/char/ipmi/ipmi_msghandler.c, panic_op_write_handler",
        words=("none", "event", "string"),
    ),
    ("ipmi_poweroff", "ifnum_to_use"): OwnCheck(
        "drivers/char/ipmi/ipmi_poweroff.c, set_param_ifnum", "int"
    ),
    ("kvm", "nx_huge_pages"): OwnCheck(
        _KVM + "set_nx_huge_pages", "bool", words=("off", "force", "auto", "never")
    ),
    ("kvm", "nx_huge_pages_recovery_ratio"): OwnCheck(
        _KVM + "set_nx_huge_pages_recovery_param", "uint"
    ),
    ("kvm", "nx_huge_pages_recovery_period_ms"): OwnCheck(
        _KVM + "set_nx_huge_pages_recovery_param", "uint"
    ),
    ("kvm_amd", "avic"): OwnCheck(  # 6.18
        "arch/x86/kvm/svm/avic.c, avic_param_set", "bint", words=("auto",)
    ),
    ("kvm_intel", "vmentry_l1d_flush"): OwnCheck(
        "arch/x86/kvm/vmx/vmx.c, vmentry_l1d_flush_parse",
        words=("auto", "never", "cond", "always"),
    ),
    ("lockd", "nlm_grace_period"): OwnCheck(_LOCKD, "ulong", 0, 240, refused=EINVAL, newline=False),
    ("lockd", "nlm_tcpport"): OwnCheck(_LOCKD, "int", 0, 65535, refused=EINVAL, newline=False),
    ("lockd", "nlm_timeout"): OwnCheck(_LOCKD, "ulong", 3, 20, refused=EINVAL, newline=False),
    ("lockd", "nlm_udpport"): OwnCheck(_LOCKD, "int", 0, 65535, refused=EINVAL, newline=False),
    ("loop", "hw_queue_depth"): OwnCheck("drivers/block/loop.c, loop_set_hw_queue_depth", "int", 1),
    ("loop", "max_loop"): OwnCheck("drivers/block/loop.c, max_loop_param_set_int", "int"),
    ("md_mod", "start_ro"): OwnCheck("drivers/md/md.c, set_ro", "uint", decimal=True),
    ("mpt3sas", "logging_level"): OwnCheck(
        "drivers/scsi/mpt3sas/mpt3sas_scsih.c, _scsih_set_debug_level", "int"
    ),
    ("msr", "allow_writes"): OwnCheck("arch/x86/kernel/msr.c, set_allow_writes", ANY),
    ("nf_conntrack", "hashsize"): OwnCheck(
        "net/netfilter/nf_conntrack_core.c, nf_conntrack_set_hashsize", "uint"
    ),
    ("nf_nat_ftp", "ports"): _PORTS,
    ("nf_nat_irc", "ports"): _PORTS,
    ("nfs", "callback_tcpport"): OwnCheck(
        "fs/nfs/super.c, param_set_portnr", "ulong", 0, 65535, refused=EINVAL
    ),
    ("nfs", "nfs_mountpoint_expiry_timeout"): OwnCheck(
        "fs/nfs/namespace.c, param_set_nfs_timeout", "long", refused=EINVAL
    ),
    ("null_blk", "irqmode"): OwnCheck(_NULL, "int", 0, 2, decimal=True, refused=EINVAL),
    ("null_blk", "queue_mode"): OwnCheck(_NULL, "int", 0, 2, decimal=True, refused=EINVAL),
    ("nvme", "io_queue_depth"): OwnCheck(
        "drivers/nvme/host/pci.c, io_queue_depth_set", "uint", 2, 4095
    ),
    ("nvme", "poll_queues"): _QUEUES,
    ("nvme", "write_queues"): _QUEUES,
    ("nvme_core", "iopolicy"): OwnCheck(  # queue-depth since 6.11
        "drivers/nvme/host/multipath.c, nvme_set_iopolicy",
        words=("numa", "round-robin", "queue-depth"),
        begins=True,
    ),
    ("nvme_tcp", "tls_handshake_timeout"): OwnCheck(
        "drivers/nvme/host/tcp.c, tls_handshake_timeout_set", "uint", 0, _HANDSHAKE
    ),
    ("nvmet_rdma", "srq_size"): OwnCheck(
        "drivers/nvme/target/rdma.c, srq_size_set", "int", 256, decimal=True, refused=EINVAL
    ),
    ("nvmet_tcp", "idle_poll_period_usecs"): OwnCheck(
        _NVMET, "int", 0, _INT_MAX, decimal=True, refused=EINVAL
    ),
    ("nvmet_tcp", "so_priority"): OwnCheck(
        _NVMET, "int", 0, _INT_MAX, decimal=True, refused=EINVAL
    ),
    ("overlay", "check_copy_up"): OwnCheck("fs/overlayfs/copy_up.c, ovl_ccup_set", ANY),
    ("sg", "def_reserved_size"): OwnCheck(
        "drivers/scsi/sg.c, def_reserved_size_set", "int", 0, 1 << 20, outside=ERANGE
    ),
    ("snd_hda_intel", "power_save"): OwnCheck("sound/pci/hda/hda_intel.c, param_set_xint", "int"),
    ("sunrpc", "auth_hashtable_size"): OwnCheck(
        "net/sunrpc/auth.c, param_set_hashtbl_sz", "ulong", 3, 1 << 14, refused=EINVAL
    ),
    ("sunrpc", "max_resvport"): _RESVPORT,
    ("sunrpc", "min_resvport"): _RESVPORT,
    ("sunrpc", "tcp_max_slot_table_entries"): _SLOTS,
    ("sunrpc", "tcp_slot_table_entries"): _SLOTS,
    ("sunrpc", "udp_slot_table_entries"): _SLOTS,
    ("target_core_user", "block_netlink"): OwnCheck(
        "drivers/target/target_core_user.c, tcmu_set_block_netlink", "byte", 0, 1
    ),
    ("target_core_user", "global_max_data_area_mb"): OwnCheck(
        "drivers/target/target_core_user.c, tcmu_set_global_max_data_area",
        "int",
        1,
        decimal=True,
        refused=EINVAL,
    ),
    ("tcp_dctcp", "dctcp_shift_g"): OwnCheck(
        "net/ipv4/tcp_dctcp.c, dctcp_shift_g_set", "uint", 0, 10
    ),
    ("ublk_drv", "ublks_max"): OwnCheck(
        "drivers/block/ublk_drv.c, ublk_set_max_unprivileged_ublks", "uint", 0, 1 << 20
    ),
}
"""By the names of module and parameter, as /sys/module has them."""
