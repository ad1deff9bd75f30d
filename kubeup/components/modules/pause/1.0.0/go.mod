module kubeup.invalid/pause

go 1.22
