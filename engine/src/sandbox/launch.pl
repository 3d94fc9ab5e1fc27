# The last steps before a command, inside its walls: what bubblewrap cannot do. It takes the command's rights to files a
# second time, by the kernel's own file rules (landlock), so that they hold also where the first wall does not; sets the
# limits of each process; starts the command and tells on descriptor 4 how it ended; and stays, as process 1 of this
# small world, until nothing that the command has left running is there any more.
#
# Perl, because a program is needed that can make system calls and is on every Debian machine. Without its modules, which
# take longer to load than all the rest takes.
#
#   perl launch.pl MACHINE [read=PATH | write=PATH | device=PATH | limit=NUMBER:VALUE | proxy=PORT:SOCKET]... -- PROGRAM [ARGUMENT]...
#
# File rules are set where `read`, `write` or `device` is given; a step that fails ends it before the command begins.
use strict;

use constant READ_BYTES => 65_536;
# As the kernel has it for those who are not root.
use constant MOST_IN_A_PIPE => 1_048_576;

my %numbers = (
  x64   => { close => 3,  openat => 257, prctl => 157, prlimit64 => 302 },
  arm64 => { close => 57, openat => 56,  prctl => 167, prlimit64 => 261 },
);
my $machine = shift @ARGV;
my $call    = $numbers{$machine} or die "no system call numbers for $machine\n";
my ($create_ruleset, $add_rule, $restrict_self) = (444, 445, 446);

open(my $status, '>&=', 4) or die "descriptor 4: $!\n";
fcntl($status, 2, 1);    # F_SETFD, FD_CLOEXEC: the command must not have it
sub report { syswrite($status, "$_[0]\n") }
sub fail { report("broken $_[0]"); exit 125 }

my (@files, @limits, $proxy);
while (@ARGV) {
  my $word = shift @ARGV;
  last if $word eq '--';
  my ($kind, $value) = split(/=/, $word, 2);
  if    ($kind eq 'limit') { push @limits, [split(/:/, $value)] }
  elsif ($kind eq 'proxy') { $proxy = [split(/:/, $value, 2)] }
  else                     { push @files, [$kind, $value] }
}

restrict_files() if @files;
my $bridge = $proxy ? bridge(@$proxy) : 0;
for (@limits) {
  my ($number, $value) = @$_;
  syscall($call->{prlimit64}, 0, $number + 0, pack('QQ', $value, $value), 0) == 0 or fail("limit $number: $!");
}

# Behind the Engine, whose watchdog has to get its turn while a bomb goes off.
setpriority(0, 0, 10);

# Programs open /dev/stdin, /dev/stdout and /dev/stderr by name, which works with pipes and not with the Engine's sockets.
my ($told, $tell) = piped();
my ($input, $feed) = piped();
my ($output, $out) = piped();
my ($errors, $err) = piped();
$SIG{CHLD} = sub { syswrite($tell, 'x') };

my $feeder = fork;
fail("fork: $!") unless defined $feeder;
if ($feeder == 0) {
  close $_ for $status, $tell, $told, $input, $output, $out, $errors, $err;
  copy(\*STDIN, $feed);
  exit;
}
my $command = fork;
fail("fork: $!") unless defined $command;
if ($command == 0) {
  open(STDIN, '<&', $input) and open(STDOUT, '>&', $out) and open(STDERR, '>&', $err) or fail("streams: $!");
  exec { $ARGV[0] } @ARGV or do { report("unstarted $!"); exit 127 };
}
close $_ for $input, $feed, $out, $err;
$SIG{PIPE} = 'IGNORE';

# To be carried on: what was read, and where it goes.
my @carried = ([$output, \*STDOUT], [$errors, \*STDERR]);
while (1) {
  carry(undef);
  my $gone;
  while (($gone = waitpid(-1, 1)) > 0) {    # WNOHANG
    next if $gone != $command;
    my $how = $? & 127 ? 'signal ' . ($? & 127) : 'exit ' . ($? >> 8);
    # What it has said is told before its end; what it left running may go on to speak for ever.
    for (1 .. MOST_IN_A_PIPE / READ_BYTES) { last unless carry(0) }
    report($how);
    kill('KILL', $bridge) if $bridge;
  }
  last if $gone < 0;
}
1 while carry(0);    # Nobody is left who could say more.

# Waits for something that is said, or for the end of a process; 0 does not wait. Tells whether something was carried.
sub carry {
  my ($wait) = @_;
  my $ready = '';
  vec($ready, fileno($_), 1) = 1 for $told, map { $_->[0] } @carried;
  return 0 if select($ready, undef, undef, $wait) <= 0;
  sysread($told, my $signs, 4096) if vec($ready, fileno($told), 1);
  my $count = 0;
  my @speaking = grep { vec($ready, fileno($_->[0]), 1) } @carried;
  for my $one (@speaking) {
    my ($from, $to) = @$one;
    if (sysread($from, my $data, READ_BYTES)) { put($to, $data); $count++ }
    else { @carried = grep { $_ != $one } @carried }
  }
  return $count;
}

sub piped {
  pipe(my $from, my $into) or fail("pipe: $!");
  return ($from, $into);
}

sub restrict_files {
  my $abi = syscall($create_ruleset, 0, 0, 1);
  fail("landlock: $!") if $abi < 1;

  # What a rule can allow, by the age of the kernel: 13 rights at first, then refer, truncate, and commands to devices.
  my $every = 0x1fff | ($abi >= 2 ? 0x2000 : 0) | ($abi >= 3 ? 0x4000 : 0) | ($abi >= 5 ? 0x8000 : 0);
  my ($execute, $write_file, $read_file, $read_dir) = (1, 2, 4, 8);
  my $of_a_file = $execute | $write_file | $read_file | (0xc000 & $every);
  my %rights = (
    read   => $execute | $read_file | $read_dir,
    write  => $every & ~0x8000,
    device => $write_file | $read_file | $read_dir | (0x8000 & $every),
  );
  # No signals and no abstract sockets to processes outside.
  my $scoped  = $abi >= 6 ? 3 : 0;
  my $ruleset = syscall($create_ruleset, pack('QQQ', $every, 0, $scoped), 24, 0);
  fail("landlock: $!") if $ruleset < 0;

  for (@files) {
    my ($kind, $path) = @$_;
    my $folder = syscall($call->{openat}, -100, $path, 0x280000);    # AT_FDCWD; O_PATH | O_CLOEXEC
    fail("$path: $!") if $folder < 0;
    my $allowed = $rights{$kind} & (-d $path ? ~0 : $of_a_file);
    syscall($add_rule, $ruleset, 1, pack('Ql', $allowed, $folder), 0) == 0 or fail("landlock: $path: $!");
    syscall($call->{close}, $folder);
  }
  syscall($call->{prctl}, 38, 1, 0, 0, 0) == 0 or fail("no_new_privs: $!");
  syscall($restrict_self, $ruleset, 0) == 0 or fail("landlock: $!");
  syscall($call->{close}, $ruleset);
}

# Programs know proxies by a port; the Engine's lies behind a socket in the file system, the one way out of here.
sub bridge {
  my ($port, $path) = @_;
  require IO::Socket::INET;
  require IO::Socket::UNIX;
  my $listening = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1)
    or fail("proxy: $@");
  my $pid = fork;
  fail("fork: $!") unless defined $pid;
  if ($pid) { close $listening; return $pid }

  close $status;
  $SIG{CHLD} = 'IGNORE';
  while (1) {
    my $client = $listening->accept or next;
    my $one = fork;
    next if !defined $one || $one;
    close $listening;
    my $engine = IO::Socket::UNIX->new(Peer => $path) or exit 1;
    my $back = fork;
    exit 1 unless defined $back;
    my ($from, $to) = $back ? ($client, $engine) : ($engine, $client);
    copy($from, $to);
    shutdown($to, 1);
    exit;
  }
}

sub copy {
  my ($from, $to) = @_;
  while (sysread($from, my $data, READ_BYTES)) { put($to, $data) or return }
}

sub put {
  my ($to, $data) = @_;
  for (my $sent = 0; $sent < length $data;) {
    my $more = syswrite($to, $data, length($data) - $sent, $sent);
    return 0 unless $more;
    $sent += $more;
  }
  return 1;
}
