module kubeup.invalid/approver

go 1.22
