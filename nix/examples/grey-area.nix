# grey-area: the machine with the GPU. Ollama has the models; this node looks after it, and serves them to the house.
{ pkgs, ... }:
{
  networking.hostName = "grey-area";

  services.ollama = {
    enable = true;
    package = pkgs.ollama-cuda; # ollama-rocm for an AMD GPU (before NixOS 26.05: acceleration = "cuda")
    # It listens in the house, and the firewall lets the nodes below in and nobody else (sharedPorts).
    host = "0.0.0.0";
    port = 11434;
    openFirewall = false;
    # An account of its own, since the folder is not below /var/lib.
    user = "ollama";
    group = "ollama";
    models = "/mnt/storage/ollama/models";
  };
  systemd.tmpfiles.rules = [ "d /mnt/storage/ollama/models 0755 ollama ollama -" ];
  systemd.services.ollama = {
    unitConfig.RequiresMountsFor = [ "/mnt/storage/ollama" ];
    serviceConfig = {
      MemoryMax = "16G"; # as much as the machine can spare
      CPUQuota = "400%"; # four processors
    };
  };
  fileSystems."/mnt/storage/ollama" = {
    device = "/dev/disk/by-label/storage";
    fsType = "ext4";
    options = [
      "defaults"
      "noatime"
      "nofail" # the node still starts without the disk, and says that its worker is down
    ];
  };

  services.taskmaster = {
    enable = true;
    gateway.enable = true;
    research.enable = true;
    worker = {
      enable = true;
      gpu = "cuda"; # or "rocm"
      sharedPorts = [ 11434 ];
    };
    # The same on every machine; the addresses are those that the router gives them for good.
    nodes = {
      grey-area = "192.168.1.10";
      sleeper-service = "192.168.1.11";
      nas = "192.168.1.12";
    };
    # On any machine, once: tmctl ca init --dir pki; then for each: tmctl ca issue grey-area --address 192.168.1.10 --dir pki, and
    # bring ca.pem, crl.pem, grey-area.pem and grey-area.key here.
    pki = "/etc/taskmaster/pki";
    etcd.enable = true;

    settings.workers = [
      {
        name = "ollama";
        backend = "ollama";
        url = "http://127.0.0.1:11434";
        slots = 4;
      }
    ];
  };
}
