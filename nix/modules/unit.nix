# The unit: ready when the node serves, watched while it does, and allowed what it needs and no more.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.taskmaster;
  inherit (cfg.settings) privacy;
  file = (pkgs.formats.toml { }).generate "taskmaster.toml" cfg.settings;
  tmd = "${cfg.package}/bin/tmd";
  isDynamic = cfg.user == null;
  isBelowHome =
    folder:
    lib.elem (builtins.elemAt (lib.splitString "/" "${folder}/") 1) [
      "home"
      "root"
    ];
  backups = lib.optional (cfg.settings ? backup.to) cfg.settings.backup.to;
  hasGpu = cfg.worker.enable && cfg.worker.gpu != null;

  identity =
    if isDynamic then
      {
        DynamicUser = true;
        StateDirectory = "taskmaster";
        StateDirectoryMode = "0700";
      }
    else
      {
        User = cfg.user;
        ReadWritePaths = [ cfg.dataDir ] ++ backups;
      }
      // lib.optionalAttrs (cfg.group != null) { Group = cfg.group; };

  devices =
    if hasGpu then
      {
        PrivateDevices = false;
        DevicePolicy = "closed";
        DeviceAllow =
          {
            cuda = [
              "char-nvidiactl rw"
              "char-nvidia-caps rw"
              "char-nvidia-frontend rw"
              "char-nvidia-uvm rw"
            ];
            rocm = [
              "char-drm rw"
              "char-fb rw"
              "char-kfd rw"
            ];
          }
          .${cfg.worker.gpu};
        SupplementaryGroups = [
          "render"
          "video"
        ];
      }
    else
      {
        PrivateDevices = true;
        DevicePolicy = "closed";
      };

  # A locked node is kept in the house by the kernel; name servers elsewhere are out of its reach as well.
  egress = lib.optionalAttrs privacy.lock {
    IPAddressDeny = "any";
    IPAddressAllow = [ "localhost" ] ++ privacy.local_ranges;
  };
in
{
  config = lib.mkIf cfg.enable {
    systemd.tmpfiles.rules = lib.mkIf (!isDynamic) [
      "d ${cfg.dataDir} 0700 ${cfg.user} ${if cfg.group == null then "-" else cfg.group} -"
    ];

    systemd.services.taskmaster = {
      description = "Taskmaster node";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "etcd.service"
        "ollama.service"
      ];
      unitConfig.RequiresMountsFor = [ cfg.dataDir ] ++ backups;
      # Eight in five minutes, then it stays down and says so: whoever must look is told by `systemctl --failed`.
      startLimitIntervalSec = 300;
      startLimitBurst = 8;

      serviceConfig =
        identity
        // devices
        // egress
        // {
          Type = "notify";
          ExecStartPre = "${tmd} check --config ${file}";
          ExecStart = "${tmd} --config ${file}";
          # It says that it lives every ten seconds, as long as its supervision answers.
          WatchdogSec = 30;
          Restart = "always";
          RestartSec = 5;
          # The drain (limits.drain), then what is left open.
          TimeoutStopSec = 75;
          TimeoutStartSec = 180;
          # Engines end after the answers that they are in the middle of, and a big one may die alone.
          KillMode = "mixed";
          OOMPolicy = "continue";
          # What is in memory is secret: keys, and what was said.
          LimitCORE = 0;
          LimitNOFILE = 65536;
          WorkingDirectory = cfg.dataDir;

          LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials;
          BindReadOnlyPaths = lib.filter isBelowHome cfg.research.folders;

          AmbientCapabilities = "";
          CapabilityBoundingSet = "";
          KeyringMode = "private";
          LockPersonality = true;
          MemoryDenyWriteExecute = true;
          NoNewPrivileges = true;
          PrivateTmp = true;
          PrivateUsers = true;
          # /proc/meminfo and /proc/stat say what the machine has.
          ProcSubset = "all";
          ProtectClock = true;
          ProtectControlGroups = true;
          ProtectHome = if lib.any isBelowHome cfg.research.folders then "tmpfs" else true;
          ProtectHostname = true;
          ProtectKernelLogs = true;
          ProtectKernelModules = true;
          ProtectKernelTunables = true;
          ProtectProc = "invisible";
          ProtectSystem = "strict";
          RemoveIPC = true;
          RestrictAddressFamilies = [
            "AF_INET"
            "AF_INET6"
            "AF_UNIX"
          ];
          RestrictNamespaces = true;
          RestrictRealtime = true;
          RestrictSUIDSGID = true;
          SystemCallArchitectures = "native";
          SystemCallErrorNumber = "EPERM";
          SystemCallFilter = [
            "@system-service"
            "~@privileged"
          ];
          UMask = "0077";
        }
        // lib.optionalAttrs (cfg.environmentFile != null) { EnvironmentFile = cfg.environmentFile; };
    };
  };
}
