module kubeup.invalid/probe

go 1.22
