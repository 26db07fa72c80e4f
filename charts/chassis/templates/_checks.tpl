{{- /*
chassis.checks: renders nothing. Fails if values contradict each other, which values.schema.json cannot express because
each value alone is valid. The message lists all errors, one a line, each with the path of the value.
*/ -}}
{{- define "chassis.checks" -}}
{{- $errors := list -}}
{{- $values := .Values -}}
{{- $database := list -}}
{{- range $name := list "url" "existingSecret" "cloudNativePG" "migrationUrl" "migrationExistingSecret" "readUrl" "readExistingSecret" -}}
{{- if get $values.database $name -}}{{- $database = append $database (printf "database.%s" $name) -}}{{- end -}}
{{- end -}}
{{- $read := without $database "database.url" "database.existingSecret" "database.cloudNativePG" "database.migrationUrl" "database.migrationExistingSecret" -}}
{{- $migration := without $database "database.url" "database.existingSecret" "database.readUrl" "database.readExistingSecret" -}}
{{- $service := without $database "database.migrationUrl" "database.migrationExistingSecret" "database.readUrl" "database.readExistingSecret" -}}
{{- if and $values.postgresql.enabled $database -}}
{{- $errors = append $errors (printf "%s: has no effect while postgresql.enabled is true; set postgresql.enabled to false or remove this value" (first $database)) -}}
{{- else if not (or $values.postgresql.enabled $database) -}}
{{- $errors = append $errors "postgresql.enabled is false: set database.url, database.existingSecret or database.cloudNativePG" -}}
{{- else if and $database (not $service) -}}
{{- $errors = append $errors (printf "%s: set database.url or database.existingSecret too, for the role that serves" (first $database)) -}}
{{- else if and (gt (len $service) 1) (ne (join " " $service) "database.existingSecret database.cloudNativePG") -}}
{{- $errors = append $errors (printf "%s: set only one of them" (join " and " $service)) -}}
{{- else if gt (len $migration) 1 -}}
{{- $errors = append $errors (printf "%s: set only one of them" (join " and " $migration)) -}}
{{- else if gt (len $read) 1 -}}
{{- $errors = append $errors (printf "%s: set only one of them" (join " and " $read)) -}}
{{- else if and $values.database.readUrl (not $values.database.url) -}}
{{- $errors = append $errors "database.readUrl: set database.url too, or use database.readExistingSecret" -}}
{{- else if and $values.database.migrationUrl (not $values.database.url) -}}
{{- $errors = append $errors "database.migrationUrl: set database.url too, or use database.migrationExistingSecret" -}}
{{- end -}}

{{- $own := ternary "postgresql.enabled is true" (ternary "database.cloudNativePG is set" "" (not (empty $values.database.cloudNativePG))) $values.postgresql.enabled -}}
{{- range $name := list "port" "to" -}}
{{- if and $own (get $values.networkPolicy.database $name) -}}
{{- $errors = append $errors (printf "networkPolicy.database.%s: has no effect while %s, because the network policy then names the pods of that database; remove this value, or use networkPolicy.egress" $name $own) -}}
{{- end -}}
{{- end -}}
{{- if and $values.postgresql.enabled $values.database.maxConnections -}}
{{- $errors = append $errors "database.maxConnections: has no effect while postgresql.enabled is true; set postgresql.parameters.max_connections" -}}
{{- end -}}

{{- $digits := trimPrefix "sha256:" ($values.image.digest | default "") -}}
{{- if and $digits (eq $digits (repeat 64 (substr 0 1 $digits))) -}}
{{- $errors = append $errors (printf "image.digest: %s is a placeholder; set the digest of your image, or remove this value" $values.image.digest) -}}
{{- end -}}

{{- $entryPoints := compact (list (ternary "ingress" "" $values.ingress.enabled) (ternary "httpRoute" "" $values.httpRoute.enabled)) -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- $errors = append $errors "ingress.hosts: must contain at least one host when ingress.enabled is true" -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- $errors = append $errors "httpRoute.parentRefs: must contain at least one Gateway when httpRoute.enabled is true" -}}
{{- end -}}
{{- with $values.networkPolicy -}}
{{- if and .enabled (not .anyNamespace) $entryPoints (not .ingressNamespace) (not .from) -}}
{{- $errors = append $errors (printf "networkPolicy.ingressNamespace: set it to the namespace of the ingress controller or Gateway, or list the callers in networkPolicy.from, because %s.enabled is true and networkPolicy.anyNamespace is false" (first $entryPoints)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.service.nodePort (eq $values.service.type "ClusterIP") -}}
{{- $errors = append $errors "service.nodePort: has no effect while service.type is ClusterIP" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (ne $values.service.type "ClusterIP") -}}
{{- $errors = append $errors (printf "metrics.serviceMonitor.enabled: a Service of type %s does not expose the metrics port; use metrics.podMonitor" $values.service.type) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.metrics.podMonitor.enabled -}}
{{- $errors = append $errors "metrics.podMonitor.enabled and metrics.serviceMonitor.enabled: set only one of them, or each pod is scraped twice" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- $errors = append $errors "autoscaling.minReplicas: must not be greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (has (toString $values.updateStrategy.maxUnavailable) (list "0" "0%")) (has (toString $values.updateStrategy.maxSurge) (list "0" "0%")) -}}
{{- $errors = append $errors "updateStrategy.maxSurge: must be greater than 0 when updateStrategy.maxUnavailable is 0" -}}
{{- end -}}
{{- range $claim := list "issuer" "audience" -}}
{{- if and $values.jwt.jwksUrl (not (get $values.jwt $claim)) -}}
{{- $errors = append $errors (printf "jwt.%s: must be set when jwt.jwksUrl is set" $claim) -}}
{{- end -}}
{{- end -}}
{{- if and $values.tracing.headers.existingSecret (not $values.tracing.endpoint) -}}
{{- $errors = append $errors "tracing.headers.existingSecret: has no effect while tracing.endpoint is empty" -}}
{{- end -}}
{{- if ne $values.service.type "ClusterIP" -}}
{{- $outside := $values.networkPolicy.from | toJson | contains "ipBlock" -}}
{{- if and $values.networkPolicy.enabled (not $outside) -}}
{{- $errors = append $errors (printf "networkPolicy.from: must contain an ipBlock with the addresses of the clients, such as {ipBlock: {cidr: 0.0.0.0/0}}, because service.type is %s and clients outside the cluster are otherwise blocked" $values.service.type) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- if and (get $values.service $name) (ne $values.service.type "LoadBalancer") -}}
{{- $errors = append $errors (printf "service.%s: has no effect while service.type is %s" $name $values.service.type) -}}
{{- end -}}
{{- end -}}
{{- if and $values.service.externalTrafficPolicy (eq $values.service.type "ClusterIP") -}}
{{- $errors = append $errors "service.externalTrafficPolicy: has no effect while service.type is ClusterIP" -}}
{{- end -}}
{{- if and (gt (len ($values.service.ipFamilies | default list)) 1) (has ($values.service.ipFamilyPolicy | default "") (list "" "SingleStack")) -}}
{{- $errors = append $errors "service.ipFamilyPolicy: must be PreferDualStack or RequireDualStack for two service.ipFamilies" -}}
{{- end -}}
{{- if and $values.serviceAccount.annotations (not $values.serviceAccount.create) -}}
{{- $errors = append $errors "serviceAccount.annotations: has no effect while serviceAccount.create is false; annotate the existing ServiceAccount" -}}
{{- end -}}
{{- if not (or $values.global.imageRegistry (include "chassis.namesRegistry" $values.image.repository) (eq $values.image.repository (printf "tandem/%s" (include "chassis.serviceName" .)))) -}}
{{- $errors = append $errors (printf "image.repository: %s does not name a registry; set global.imageRegistry, or write the whole name, such as registry.example.com/%s" $values.image.repository $values.image.repository) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" (include "chassis.fullname" .)) -}}
{{- $errors = append $errors (printf "fullnameOverride: must be set, because the release's name is %s, and the name of a Service cannot start with a digit" .Release.Name) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not (((($values.web.resources | default dict).requests | default dict).cpu) | default (($values.web.resources | default dict).limits | default dict).cpu)) -}}
{{- $errors = append $errors "web.resources.requests.cpu: must be set when autoscaling.enabled is true, because autoscaling.cpuUtilization is a percentage of it" -}}
{{- end -}}
{{- if and $values.purge.enabled (not (include "chassis.isSchedule" $values.purge.schedule)) -}}
{{- $errors = append $errors (printf "purge.schedule: %s is no schedule; write minute (0-59), hour (0-23), day (1-31), month (1-12) and day of the week (0-6, Sunday is 0), or @hourly, @daily, @weekly, @monthly, @yearly" $values.purge.schedule) -}}
{{- end -}}
{{- range $port := include "chassis.databasePorts" . | splitList "," -}}
{{- if or (lt (int $port) 1) (gt (int $port) 65535) -}}
{{- $errors = append $errors (printf "database: a URL has the port %s; a port is a number from 1 to 65535" $port) -}}
{{- end -}}
{{- end -}}
{{- $errors = concat $errors (include "chassis.environmentErrors" . | fromJsonArray) -}}
{{- $errors = concat $errors (include "chassis.connectionErrors" . | fromJsonArray) (include "chassis.secretErrors" . | fromJsonArray) -}}
{{- $errors = concat $errors ((include "chassis.facts" . | fromYaml).errors | default list) -}}
{{- $errors = concat $errors (include "chassis.resourceErrors" . | fromJsonArray) -}}
{{- $pause := ((($values.web.lifecycle | default dict).preStop | default dict).sleep | default dict).seconds -}}
{{- $minimum := add ($pause | default $values.preStopSeconds) 25 -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (int $minimum) -}}
{{- $errors = append $errors (printf "terminationGracePeriodSeconds: must be at least %d seconds, which is %s plus 25 s to finish requests in progress" $minimum (ternary "web.lifecycle.preStop.sleep.seconds" "preStopSeconds" (not (empty $pause)))) -}}
{{- end -}}
{{- /* Any other parent chart may define globals of its own, so they are checked only if this chart or tandem is on top. */ -}}
{{- $known := list "imageRegistry" "imagePullSecrets" "previewSecrets" -}}
{{- if has (splitList "/" .Template.BasePath | first) (list "tandem" .Chart.Name) -}}
{{- range $key, $_ := $values.global -}}
{{- if not (has $key $known) -}}
{{- $errors = append $errors (printf "global.%s: is unknown; known are %s" $key (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $errors -}}
{{- fail (printf "\n%s" (join "\n" .)) -}}
{{- end -}}
{{- end }}

{{- /*
chassis.resourceErrors: errors, as a JSON list, if a container requests more than its limit allows. Limits have defaults,
so a request alone can be too much.
*/ -}}
{{- define "chassis.resourceErrors" -}}
{{- $errors := list -}}
{{- range $name := list "web" "relay" "publisher" "job" "postgresql" -}}
{{- $resources := (get $.Values $name | default dict).resources | default dict -}}
{{- $limits := $resources.limits | default dict -}}
{{- range $resource, $request := $resources.requests | default dict -}}
{{- $limit := get $limits $resource -}}
{{- if and (hasKey $limits $resource) (gt (include "chassis.amount" $request | float64) (include "chassis.amount" $limit | float64)) -}}
{{- $errors = append $errors (printf "%s.resources.requests.%s: %v is more than the limit of %v; raise %s.resources.limits.%s too" $name $resource $request $limit $name $resource) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $errors -}}
{{- end }}

{{- /*
chassis.amount: a quantity of Kubernetes, such as 100m or 384Mi, as a number.
*/ -}}
{{- define "chassis.amount" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $unit := regexFind "(m|k|Ki|[MGTPE]i?)$" (toString .) -}}
{{- mulf (trimSuffix $unit (toString .) | float64) (get $units $unit) -}}
{{- end }}

{{- /*
chassis.environmentErrors: errors, as a JSON list, if two values set one environment variable. A setting in secretEnv is
the variable NAME_FILE. (extraEnv overrides env, so these two may have the same names.)
*/ -}}
{{- define "chassis.environmentErrors" -}}
{{- $errors := list -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- $errors = append $errors (printf "extraEnv: sets %s twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $settings := keys (.Values.env | default dict) -}}
{{- range $name := include "chassis.jobSettings" . | splitList "," -}}
{{- $file := printf "%s_FILE" $name -}}
{{- if or (hasKey ($.Values.secretEnv | default dict) $name) (has $file (concat $names $settings)) -}}
{{- $errors = append $errors (printf "%s: set %s in env, because the migration and the purge need it too, and have no Secrets of the service" (ternary (printf "secretEnv.%s" $name) $file (hasKey ($.Values.secretEnv | default dict) $name)) $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := include "chassis.secretEnv" . | fromYaml -}}
{{- $file := printf "%s_FILE" $name -}}
{{- if has $name $names -}}
{{- $errors = append $errors (printf "extraEnv: sets %s, which secretEnv or tracing.headers sets too; remove one of them" $name) -}}
{{- else if has $file (concat $names $settings) -}}
{{- $errors = append $errors (printf "%s: sets %s, and so does secretEnv.%s or tracing.headers; remove one of them" (ternary "extraEnv" "env" (has $file $names)) $file $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $errors -}}
{{- end }}

{{- /*
chassis.connectionErrors: errors, as a JSON list, if the pods can open more connections than the database admits. Each
thread has a connection; docs/production.md, Size, has the sum.
*/ -}}
{{- define "chassis.connectionErrors" -}}
{{- $errors := list -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
{{- $connections := $facts.connections -}}
{{- $embedded := .Values.postgresql.enabled -}}
{{- $admitted := ternary ((.Values.postgresql.parameters | default dict).max_connections | default 100) .Values.database.maxConnections $embedded | int -}}
{{- $pods := ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int -}}
{{- $surge := toString .Values.updateStrategy.maxSurge -}}
{{- if hasSuffix "%" $surge -}}
{{- $surge = divf (mul $pods (trimSuffix "%" $surge | int)) 100.0 | ceil -}}
{{- end -}}
{{- $perThread := add $connections.perThread (ternary 1 0 (not (empty .Values.rateLimit))) -}}
{{- $perPod := add (mul .Values.web.workers .Values.web.threads $perThread) $connections.others -}}
{{- $others := add 5 ($facts.publisherConnections | default 0) -}}
{{- $needed := add (mul (add $pods (int $surge)) $perPod) $others -}}
{{- if and (gt $admitted 0) (gt (int $needed) $admitted) -}}
{{- $errors = append $errors (printf "%s: is %d, but %d pods and %d more during a rollout open up to %d connections each, and %d are for migration, purge%s and superusers: set it to %d, or lower %s" (ternary "postgresql.parameters.max_connections" "database.maxConnections" $embedded) $admitted $pods (int $surge) (int $perPod) (int $others) (ternary ", publisher" "" (gt (int $others) 5)) (int $needed) (ternary "autoscaling.maxReplicas" "replicaCount" .Values.autoscaling.enabled)) -}}
{{- end -}}
{{- toJson $errors -}}
{{- end }}

{{- /*
chassis.secretErrors: errors, as a JSON list, if this rendering would generate other passwords and keys each time, or if
credentials.merchant differs from the generated Secret in the cluster
*/ -}}
{{- define "chassis.secretErrors" -}}
{{- $errors := list -}}
{{- $missing := compact (list
  (ternary "credentials.existingSecret" "" (empty .Values.credentials.existingSecret))
  (ternary "postgresql.existingSecret" "" (and .Values.postgresql.enabled (empty .Values.postgresql.existingSecret)))) -}}
{{- if and $missing (not .Values.global.previewSecrets) (not (include "chassis.hasCluster" .)) -}}
{{- $errors = append $errors (printf "%s (of the %s chart): must name an existing Secret, because this rendering cannot read the cluster and would generate other passwords and keys each time (helm template, helm install --dry-run=client, Argo CD); docs/gitops.md has the details. To look at manifests: --dry-run=server, or global.previewSecrets=true" (join " and " $missing) (include "chassis.serviceName" .)) -}}
{{- end -}}
{{- if hasKey .Values.credentials "merchant" -}}
{{- $existing := include "chassis.existingSecretData" (list . (include "chassis.credentialsSecretName" .)) | fromJson -}}
{{- if and (not .Values.credentials.existingSecret) (get $existing "api-keys") -}}
{{- range (get $existing "api-keys" | fromJsonArray) -}}
{{- if and (eq .key (get $existing "api-key")) (ne .merchant $.Values.credentials.merchant) -}}
{{- $errors = append $errors (printf "credentials.merchant: is %s, but the generated Secret has the merchant %s, and an upgrade does not change it; create another key with `./tandem-admin order keys create`" $.Values.credentials.merchant .merchant) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $errors -}}
{{- end }}

{{- /* chassis.isSchedule TEXT: "yes" if a CronJob takes this schedule, otherwise empty */ -}}
{{- define "chassis.isSchedule" -}}
{{- $numbers := list "[0-5]?[0-9]" "([01]?[0-9]|2[0-3])" "(0?[1-9]|[12][0-9]|3[01])"
  "(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)" "([0-6]|sun|mon|tue|wed|thu|fri|sat)" -}}
{{- $fields := list -}}
{{- range $numbers -}}
{{- $part := printf "(\\*|\\?|%s(-%s)?)(/[1-9][0-9]*)?" . . -}}
{{- $fields = append $fields (printf "%s(,%s)*" $part $part) -}}
{{- end -}}
{{- $named := "@(yearly|annually|monthly|weekly|daily|midnight|hourly|every ([0-9]+[hms])+)" -}}
{{- if regexMatch (printf "(?i)^%s$" (join " +" $fields)) . -}}yes
{{- else if regexMatch (printf "^%s$" $named) . -}}yes
{{- end -}}
{{- end }}
