module devcluster/pause

go 1.21
