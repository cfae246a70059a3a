/**
 * System calls by what Docker's default profile thinks of them (docs.docker.com, "Seccomp security profiles for
 * Docker"; syscalls(2)): those that any container may make, and those that a capability opens. Names that an
 * architecture does not have do no harm.
 */
const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** By manual page section 2, roughly; old and 32-bit forms stand beside the call that they are a form of. */
export const callsForAll: readonly string[] = [
  // processes, threads and their limits
  ...words(`execve execveat exit exit_group fork vfork wait4 waitid waitpid pause kill tkill tgkill
    getpid getppid gettid getpgid getpgrp setpgid getsid setsid set_tid_address set_thread_area get_thread_area
    getpriority setpriority getrlimit ugetrlimit setrlimit prlimit64 getrusage prctl seccomp times
    pidfd_open pidfd_send_signal process_mrelease restart_syscall rseq membarrier getcpu
    sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
    sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_yield
    sched_rr_get_interval sched_rr_get_interval_time64 ioprio_get ioprio_set
    landlock_add_rule landlock_create_ruleset landlock_restrict_self`),
  // who a process is
  ...words(`getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 setuid setuid32 setgid setgid32
    getresuid getresuid32 getresgid getresgid32 setresuid setresuid32 setresgid setresgid32 setreuid setreuid32
    setregid setregid32 setfsuid setfsuid32 setfsgid setfsgid32 getgroups getgroups32 setgroups setgroups32
    capget capset umask`),
  // signals
  ...words(`rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn signalfd signalfd4`),
  // memory
  ...words(`brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall
    remap_file_pages memfd_create memfd_secret map_shadow_stack pkey_alloc pkey_free pkey_mprotect`),
  // time
  ...words(`time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
    clock_nanosleep_time64 clock_adjtime clock_adjtime64 adjtimex nanosleep alarm getitimer setitimer
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64`),
  // files: open, read, write, lock
  ...words(`open openat openat2 creat close close_range dup dup2 dup3 read readv pread64 preadv preadv2
    write writev pwrite64 pwritev pwritev2 lseek _llseek readahead copy_file_range sendfile sendfile64
    splice tee vmsplice fcntl fcntl64 flock ioctl fallocate truncate truncate64 ftruncate ftruncate64
    sync syncfs fsync fdatasync sync_file_range fadvise64 fadvise64_64 pipe pipe2 eventfd eventfd2
    cachestat name_to_handle_at`),
  // files: names, directories, attributes
  ...words(`stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64
    access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat
    lchown lchown32 link linkat symlink symlinkat readlink readlinkat unlink unlinkat rename renameat renameat2
    mkdir mkdirat rmdir mknod mknodat chdir fchdir getcwd getdents getdents64
    utime utimes futimesat utimensat utimensat_time64 getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr
    listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark`),
  // waiting for files
  ...words(`select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl
    epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
    io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64`),
  // sockets; `socket` itself has a rule of its own
  ...words(`socketpair socketcall bind connect listen accept accept4 shutdown getsockname getpeername getsockopt
    setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64`),
  // futexes, System V and POSIX message passing
  ...words(`futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue get_robust_list set_robust_list
    ipc semget semctl semop semtimedop semtimedop_time64 shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl
    mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive
    mq_timedreceive_time64`),
  // the system
  ...words('uname sysinfo getrandom'),
];

/** From kernel 4.8 on a tracer cannot get around the filter, so that anybody may trace. */
export const callsOfTracers = words('ptrace process_vm_readv process_vm_writev');

export const callsByArchitecture: Readonly<Record<string, readonly string[]>> = {
  amd64: words('arch_prctl modify_ldt'),
  arm64: words('arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls'),
  arm: words('arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls'),
  ppc64le: words('sync_file_range2 swapcontext'),
  s390x: words('s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr'),
  riscv64: words('riscv_flush_icache'),
};

/** Calls that need the capability anyway, or could do harm without it. */
export const callsByCapability: Readonly<Record<string, readonly string[]>> = {
  CAP_DAC_READ_SEARCH: words('open_by_handle_at'),
  CAP_SYS_ADMIN: words(`mount mount_setattr umount umount2 move_mount open_tree fsopen fsconfig fsmount fspick
    clone clone3 unshare setns sethostname setdomainname bpf perf_event_open fanotify_init lookup_dcookie
    quotactl quotactl_fd syslog`),
  CAP_SYS_BOOT: words('reboot'),
  CAP_SYS_CHROOT: words('chroot'),
  CAP_SYS_MODULE: words('init_module finit_module delete_module'),
  CAP_SYS_PACCT: words('acct'),
  CAP_SYS_PTRACE: words('kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace'),
  CAP_SYS_RAWIO: words('iopl ioperm'),
  CAP_SYS_TIME: words('settimeofday stime clock_settime clock_settime64'),
  CAP_SYS_TTY_CONFIG: words('vhangup'),
  CAP_SYS_NICE: words('get_mempolicy set_mempolicy set_mempolicy_home_node mbind'),
  CAP_SYSLOG: words('syslog'),
  CAP_BPF: words('bpf'),
  CAP_PERFMON: words('perf_event_open'),
};
