# sleeper-service: where clients come in. Tasks and documents are kept here, nginx stands in front, and the models are
# on grey-area.
_: {
  networking.hostName = "sleeper-service";

  services.taskmaster = {
    enable = true;
    port = 3001;
    user = "sma";
    group = "users";
    environmentFile = "/etc/taskmaster/env"; # such as OLLAMA_MODEL=llama3.2:8b; the file must exist
    dataDir = "/mnt/storage/taskmaster";

    gateway = {
      enable = true;
      # Clients behind nginx need keys: tmctl keys create laptop
      virtualHost = "taskmaster.home-lab";
    };
    worker.enable = false;
    research = {
      enable = true;
      folders = [ "/mnt/storage/documents" ];
    };

    nodes = {
      grey-area = "192.168.1.10";
      sleeper-service = "192.168.1.11";
      nas = "192.168.1.12";
    };
    pki = "/etc/taskmaster/pki";
    etcd.enable = true;

    # GitHub's webhook makes tasks of issues; its secret is handed over by systemd.
    credentials."github.secret" = "/etc/taskmaster/github.secret";
    settings.hooks.github = {
      secret_file = "github.secret";
      project = "home";
    };
  };

  # nginx is what the house reaches.
  networking.firewall.allowedTCPPorts = [ 80 ];
}
