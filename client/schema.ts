// Made by `npm run client` of the API's schemas; not to be edited.
export interface paths {
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether the process is alive */
        get: operations["Health_Live"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether requests can be served, and if not, which part is to blame */
        get: operations["Health_Ready"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/api-keys": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List API keys, oldest first */
        get: operations["AuthService_ListApiKeys"];
        put?: never;
        /**
         * Make an API key
         * @description The key itself is in this answer only; its SHA-256 is what is kept, so there is no Idempotency-Key: when an answer is lost, revoke the key and make another. A key made with a key ends with that at the latest.
         */
        post: operations["AuthService_CreateApiKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/api-keys/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** An API key */
        get: operations["AuthService_GetApiKey"];
        put?: never;
        post?: never;
        /** End an API key at once and leave it out of the list */
        delete: operations["AuthService_DeleteApiKey"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/api-keys/{id}/revoke": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * End an API key at once
         * @description It stays in the list. Repeated, nothing changes.
         */
        post: operations["AuthService_RevokeApiKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/audit-log": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Who did what, newest first
         * @description All that changes something, what hands out credentials or download URLs, and what was denied for want of a scope. Entries are added only; one without `timeEnded` was cut off before its outcome was written.
         */
        get: operations["AuditService_ListAuditLog"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/auth": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who the API key is */
        get: operations["AuthService_GetAuth"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/compute-connections": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List compute connections, oldest first */
        get: operations["ComputeConnectionService_ListComputeConnections"];
        put?: never;
        /** Connect HealthOmics */
        post: operations["ComputeConnectionService_CreateComputeConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/compute-connections/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A compute connection */
        get: operations["ComputeConnectionService_GetComputeConnection"];
        put?: never;
        post?: never;
        /** Delete a compute connection that nothing uses */
        delete: operations["ComputeConnectionService_DeleteComputeConnection"];
        options?: never;
        head?: never;
        /**
         * Change a compute connection
         * @description What is left out stays. Roles may change at any time within the account; account and region only while nothing uses it.
         */
        patch: operations["ComputeConnectionService_UpdateComputeConnection"];
        trace?: never;
    };
    "/v1/compute-connections/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What the last verification of a compute connection found */
        get: operations["ComputeConnectionService_GetComputeConnectionVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/compute-connections/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a compute connection now
         * @description What it finds stands at `…/verification`.
         */
        post: operations["ComputeConnectionService_VerifyComputeConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Take an event of EventBridge
         * @description S3 Object Created and aws.omics Run Status Change have the run or the execution looked at now; all others are taken and nothing happens. POLONY_EVENTS_KEY is a key for this alone.
         */
        post: operations["EventService_TakeEvent"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List executions, newest first */
        get: operations["ExecutionService_ListExecutions"];
        put?: never;
        /**
         * Start a flow for a run
         * @description For a run that is still uploading it waits until that has ended.
         */
        post: operations["ExecutionService_CreateExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Short-lived AWS credentials to read the output of an execution
         * @description They read what is below the prefix and nothing else. Prefixes, lengths and what the provider must be allowed are told where they do not fit.
         */
        get: operations["ExecutionService_GetExecutionDownloadCredentials"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The files of an execution
         * @description None as long as its HealthOmics run has not been started. The prefix may be the beginning of a name.
         */
        get: operations["ExecutionService_ListExecutionFiles"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/logs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Why an execution failed, and the log of Bases2Fastq
         * @description Of info/Bases2Fastq.log the last MiB, where the storage connection is used for data exploration.
         */
        get: operations["ExecutionService_GetExecutionLogs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** An execution */
        get: operations["ExecutionService_GetExecution"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Cancel an execution */
        post: operations["ExecutionService_CancelExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/details": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** An execution with its HealthOmics run, its results and what it waits for */
        get: operations["ExecutionService_GetExecutionDetails"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * An execution, now and whenever it changes
         * @description Server-sent events named `execution`, each with what `…/details` answers, until it has ended; who reads slowly is shown the latest. A stream lasts five minutes at most: connect anew with `Last-Event-ID`. Where that is the last of an execution that has ended, the answer is 204.
         */
        get: operations["ExecutionService_WatchExecution"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/relaunch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Start an execution that has ended once more
         * @description A new execution of the same flow for the same run, with its own HealthOmics run. What is left out is as it was; parameters are replaced as a whole.
         */
        post: operations["ExecutionService_RelaunchExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/results": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The files that an execution has produced
         * @description The first 1,000, with their keys below the output folder; summary.files of the details counts all.
         */
        get: operations["ExecutionService_GetExecutionResults"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Try a blocked execution again now */
        post: operations["ExecutionService_RetryExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/flows": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List flows, oldest first */
        get: operations["FlowService_ListFlows"];
        put?: never;
        /** Add a Bases2Fastq flow */
        post: operations["FlowService_CreateFlow"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/flows/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A flow */
        get: operations["FlowService_GetFlow"];
        put?: never;
        post?: never;
        /** Delete a flow of which no execution is under way */
        delete: operations["FlowService_DeleteFlow"];
        options?: never;
        head?: never;
        /**
         * Change a flow
         * @description What is left out stays; autoStart, parameterNames, parameters and runSettings are replaced as a whole. Executions whose HealthOmics run has started keep what they started with; the compute connection can change only while none is under way.
         */
        patch: operations["FlowService_UpdateFlow"];
        trace?: never;
    };
    "/v1/flows/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What the last verification of a flow found */
        get: operations["FlowService_GetFlowVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/flows/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a flow now
         * @description What it finds stands at `…/verification`.
         */
        post: operations["FlowService_VerifyFlow"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/iam-documents": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The IAM documents of a provider and of its execution role
         * @description Equal to the vendor's templates, or narrowed to what is known. Optional permissions are in them only for the capabilities that want them.
         */
        get: operations["IamDocumentService_GetIamDocuments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/iam-documents/check": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * What a permission policy would give, statement by statement
         * @description Looks at this policy alone: boundaries, bucket policies and policies of the organization may take away more. Permissions that hold in some cases only are conditional.
         */
        post: operations["IamDocumentService_CheckPolicy"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/iam-documents/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What has EventBridge tell polony of uploads and runs
         * @description Rules, API destination, connection and role. The key (POLONY_EVENTS_KEY) is a parameter of them.
         */
        get: operations["IamDocumentService_GetEventDocuments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/instruments": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the instruments that runs have come from, by serial number */
        get: operations["InstrumentService_ListInstruments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/instruments/{serial_number}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** An instrument */
        get: operations["InstrumentService_GetInstrument"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/instruments/{serial_number}/storage-connections": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Where an instrument can upload to, at run setup
         * @description Storage connections that are used for run upload, have not failed their verification and that the caller may see or upload to. The instrument need not have shown a run yet.
         */
        get: operations["InstrumentService_ListInstrumentStorageConnections"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List providers, oldest first */
        get: operations["ProviderService_ListProviders"];
        put?: never;
        /** Connect an AWS account */
        post: operations["ProviderService_CreateProvider"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A provider */
        get: operations["ProviderService_GetProvider"];
        put?: never;
        post?: never;
        /** Delete a provider that no connection uses */
        delete: operations["ProviderService_DeleteProvider"];
        options?: never;
        head?: never;
        /**
         * Change a provider
         * @description What is left out stays. The role may change at any time, its account only while no connection uses the provider. Access keys are rotated by giving both anew: sessions of the old ones are used until the new ones are known everywhere, half a minute at most, so deactivate the old key after that.
         */
        patch: operations["ProviderService_UpdateProvider"];
        trace?: never;
    };
    "/v1/providers/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What the last verification of a provider found */
        get: operations["ProviderService_GetProviderVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a provider now
         * @description Its connections and flows are verified too.
         */
        post: operations["ProviderService_VerifyProvider"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List runs, newest first */
        get: operations["RunService_ListRuns"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A run
         * @description With a URL to download its manifest by, for an hour, for who has runs:download too.
         */
        get: operations["RunService_GetRun"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}/details": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A run and where its upload stands */
        get: operations["RunService_GetRunDetails"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Look at an upload again now, and follow it again where that has stopped */
        post: operations["RunService_RetryRun"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{run_id}/credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Short-lived AWS credentials to read a run
         * @description They read what is below the prefix and nothing else. Prefixes, lengths and what the provider must be allowed are told where they do not fit.
         */
        get: operations["RunService_GetRunDownloadCredentials"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{run_id}/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The files of a run
         * @description The prefix may be the beginning of a name.
         */
        get: operations["RunService_ListRunFiles"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List storage connections, oldest first */
        get: operations["StorageConnectionService_ListStorageConnections"];
        put?: never;
        /** Connect a bucket */
        post: operations["StorageConnectionService_CreateStorageConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A storage connection */
        get: operations["StorageConnectionService_GetStorageConnection"];
        put?: never;
        post?: never;
        /**
         * Delete a storage connection
         * @description The bucket and what is in it stay.
         */
        delete: operations["StorageConnectionService_DeleteStorageConnection"];
        options?: never;
        head?: never;
        /**
         * Change a storage connection
         * @description What is left out stays. Where it lies (provider, region, bucket, prefix) cannot change once it has runs.
         */
        patch: operations["StorageConnectionService_UpdateStorageConnection"];
        trace?: never;
    };
    "/v1/storage-connections/{id}/access-grants": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Who may read the bucket, oldest first
         * @description The policy of the bucket is read for it, so that what was changed by hand is seen.
         */
        get: operations["StorageConnectionService_ListAccessGrants"];
        put?: never;
        /**
         * Let a principal read the bucket
         * @description Adds the vendor's statement to the policy of the bucket; statements of others stay as they are. A principal of another account needs the same actions in a policy of its own there. What takes longer than 20 seconds is answered as `pending` and goes on by itself.
         */
        post: operations["StorageConnectionService_CreateAccessGrant"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/access-grants/{grant_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A grant */
        get: operations["StorageConnectionService_GetAccessGrant"];
        put?: never;
        post?: never;
        /**
         * Take a grant out of the policy of the bucket
         * @description Statements of others stay. Where nothing else is in the policy it is deleted. What takes longer than 20 seconds is answered as `removing` and goes on by itself.
         */
        delete: operations["StorageConnectionService_DeleteAccessGrant"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/access-grants/{grant_id}/repair": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Write a grant into the policy once more
         * @description One that was refused, or whose statement was taken out or changed by hand. A statement with its Sid that says something else is written anew.
         */
        post: operations["StorageConnectionService_RepairAccessGrant"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/details": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A storage connection with its settings */
        get: operations["StorageConnectionService_GetStorageConnectionDetails"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/discover": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Search for new runs now */
        post: operations["StorageConnectionService_DiscoverRuns"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/upload-credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Short-lived AWS credentials to upload one run
         * @description Where the storage connection is used for run upload. They write below the run folder and list it, and read nothing. A run whose upload is complete is not written over.
         */
        post: operations["StorageConnectionService_CreateUploadCredentials"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What the last verification of a storage connection found */
        get: operations["StorageConnectionService_GetStorageConnectionVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a storage connection now
         * @description What it finds stands at `…/verification`.
         */
        post: operations["StorageConnectionService_VerifyStorageConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{storage_connection_id}/credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Short-lived AWS credentials to read a storage connection
         * @description Where it is used for data exploration. They read what is below the prefix and nothing else. Prefixes, lengths and what the provider must be allowed are told where they do not fit.
         */
        get: operations["StorageConnectionService_GetDownloadCredentials"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{storage_connection_id}/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The files of a storage connection
         * @description Where it is used for data exploration. The prefix is a folder.
         */
        get: operations["StorageConnectionService_ListFiles"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List webhooks, oldest first */
        get: operations["WebhookService_ListWebhooks"];
        put?: never;
        /**
         * Have events told
         * @description The answer has the secret that webhooks are signed with (Standard Webhooks); it is shown this once.
         */
        post: operations["WebhookService_CreateWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A webhook */
        get: operations["WebhookService_GetWebhook"];
        put?: never;
        post?: never;
        /** Delete a webhook, with its secrets and what was told */
        delete: operations["WebhookService_DeleteWebhook"];
        options?: never;
        head?: never;
        /**
         * Change a webhook
         * @description What is left out stays. While it is switched off nothing is noted for it, and what still waits is given up when its time comes; that can be replayed.
         */
        patch: operations["WebhookService_UpdateWebhook"];
        trace?: never;
    };
    "/v1/webhooks/{id}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What a webhook was told, newest first
         * @description Kept for 30 days, and of each webhook the newest 10,000 at most; what has not ended stays.
         */
        get: operations["WebhookService_ListDeliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Deliver events once more
         * @description With the webhook-id that they had, so that a receiver which has them already can tell. What waits for its next try is tried at once; what was not tried yet is left alone.
         */
        post: operations["WebhookService_ReplayWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}/rotate-secret": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Sign with a new secret
         * @description The old one signs along for 24 hours, so that the receiver can change over; the new one is shown this once.
         */
        post: operations["WebhookService_RotateSecret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send the event webhook.test
         * @description Whatever events the webhook is for. What became of it stands among the deliveries.
         */
        post: operations["WebhookService_TestWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        AccessGrant: {
            createdBy: string;
            description: string;
            id: string;
            /** @description Relative to the storage connection's own; null for the whole bucket */
            prefix: string | null;
            /** @description ARN of a role, a user or the root of an account */
            principal: string;
            problem: components["schemas"]["AccessProblem"] | null;
            /**
             * @description active: stands in the policy as it was written; missing, changed: somebody has taken it out or changed it; pending, removing: under way; failed: refused; expired: over
             * @enum {string}
             */
            state: "active" | "missing" | "changed" | "pending" | "failed" | "removing" | "expired";
            /** @description As they stand in the policy, or should */
            statements: {
                [key: string]: unknown;
            }[];
            storageConnectionId: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeExpires: string | null;
            /** Format: date-time */
            timeUpdated: string;
            /** @description What may be read */
            uri: string;
        };
        AccessProblem: {
            action: string | null;
            /** @description For programs, such as ACCESS_DENIED, PRINCIPAL_NOT_FOUND, DELETED_PRINCIPAL, POLICY_TOO_LARGE, PUBLIC_POLICY_BLOCKED */
            kind: string;
            message: string;
            remedy: string;
            resource: string | null;
            /** @description The statement that would allow it */
            statement: {
                [key: string]: unknown;
            } | null;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000004",
         *       "name": "lims",
         *       "scopes": [
         *         "runs:read",
         *         "executions:read",
         *         "executions:create"
         *       ],
         *       "state": "active",
         *       "createdBy": "default",
         *       "timeCreated": "2026-01-10T09:00:00.000Z",
         *       "timeExpires": "2026-04-10T09:00:00.000Z",
         *       "timeLastUsed": null,
         *       "timeRevoked": null,
         *       "revokedBy": null
         *     }
         */
        ApiKey: {
            createdBy: string;
            id: string;
            name: string;
            revokedBy: string | null;
            scopes: string[];
            /** @enum {string} */
            state: "active" | "expired" | "revoked";
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeExpires: string;
            /**
             * Format: date-time
             * @description To the minute
             */
            timeLastUsed: string | null;
            /** Format: date-time */
            timeRevoked: string | null;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000005",
         *       "time": "2026-01-16T05:00:00.000Z",
         *       "requestId": "b3f1c2d4-0000-4000-8000-000000000000",
         *       "caller": {
         *         "kind": "key",
         *         "id": "01920000-0000-7000-8000-000000000004",
         *         "name": "lims"
         *       },
         *       "address": "192.0.2.7",
         *       "action": "ExecutionService_CancelExecution",
         *       "resourceType": "executions",
         *       "resourceId": "01920000-0000-7000-8000-000000000006",
         *       "timeEnded": "2026-01-16T05:00:00.120Z",
         *       "status": 202,
         *       "reason": null,
         *       "detail": {
         *         "fields": [
         *           "reason"
         *         ]
         *       }
         *     }
         */
        AuditEntry: {
            /** @description The operationId */
            action: string;
            address: string | null;
            caller: {
                id: string;
                /** @enum {string} */
                kind: "root" | "key" | "person" | "system";
                name: string;
            };
            detail: {
                [key: string]: unknown;
            } | null;
            id: string;
            reason: string | null;
            requestId: string;
            resourceId: string | null;
            resourceType: string | null;
            /** @description HTTP status of the answer */
            status: number | null;
            /** Format: date-time */
            time: string;
            /** Format: date-time */
            timeEnded: string | null;
        };
        /** @description Why it waits for a person, and what to do */
        Blocked: {
            action?: string;
            kind: string;
            message: string;
            remedy: string;
            resource?: string;
            /** @description The policy statement that would grant it */
            statement?: unknown;
        };
        ComputeConnection: {
            executionRoleArn: string;
            id: string;
            name: string;
            providerId: string;
            region: string;
            /** @enum {string} */
            status: "COMPUTE_CONNECTION_STATUS_UNSPECIFIED" | "COMPUTE_CONNECTION_STATUS_CONNECTED" | "COMPUTE_CONNECTION_STATUS_WARNING" | "COMPUTE_CONNECTION_STATUS_FAILED";
            statusDescription: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            type: string;
        };
        Consumable: {
            /** Format: date-time */
            expiration?: string;
            lotNumber: string;
            partNumber: string;
            serialNumber: string;
        };
        Error: {
            /** @description The HTTP status */
            code: number;
            details: {
                "@type": string;
                domain: string;
                metadata: {
                    description?: string;
                    field?: string;
                    request_id: string;
                    rule?: string;
                } & {
                    [key: string]: unknown;
                };
                /** @description For programs, such as INVALID_FIELD, IN_USE, RUN_NOT_FOUND */
                reason: string;
            }[];
            message: string;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000006",
         *       "name": "b2f NA12878",
         *       "status": "EXECUTION_STATUS_RUNNING",
         *       "statusDescription": "HealthOmics run 1234567 is RUNNING",
         *       "platform": "aws_omics",
         *       "workflow": {
         *         "name": "bases2fastq",
         *         "version": ""
         *       },
         *       "flow": {
         *         "id": "01920000-0000-7000-8000-000000000002",
         *         "name": "b2f"
         *       },
         *       "inputs": [
         *         {
         *           "run": {
         *             "id": "01920000-0000-7000-8000-000000000003",
         *             "name": "NA12878",
         *             "instrumentName": "AV240001",
         *             "kitType": "",
         *             "runType": "sequencing"
         *           }
         *         }
         *       ],
         *       "output": {
         *         "storageConnectionId": "01920000-0000-7000-8000-000000000001",
         *         "uri": "s3://lab-aviti/runs/polony-executions/01920000-0000-7000-8000-000000000006/1234567/",
         *         "kinds": []
         *       },
         *       "startedBy": {
         *         "id": "lims",
         *         "email": "",
         *         "name": "lims"
         *       },
         *       "timeCreated": "2026-01-16T04:00:00.000Z",
         *       "timeStarted": "2026-01-16T04:00:05.000Z",
         *       "timeCompleted": null,
         *       "errorMessage": null
         *     }
         */
        Execution: {
            errorMessage: string | null;
            flow: {
                id: string;
                name: string;
            };
            id: string;
            inputs: {
                run: {
                    id: string;
                    instrumentName: string;
                    kitType: string;
                    name: string;
                    runType: string;
                };
            }[];
            name: string;
            output: components["schemas"]["Output"];
            platform: string;
            startedBy: {
                email: string;
                id: string;
                name: string;
            };
            /** @enum {string} */
            status: "EXECUTION_STATUS_UNTRIGGERED" | "EXECUTION_STATUS_INITIALIZED" | "EXECUTION_STATUS_PENDING" | "EXECUTION_STATUS_RUNNING" | "EXECUTION_STATUS_COMPLETED" | "EXECUTION_STATUS_FAILED" | "EXECUTION_STATUS_CANCELED";
            statusDescription: string;
            /** Format: date-time */
            timeCompleted: string | null;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeStarted: string | null;
            workflow: {
                name: string;
                version: string;
            };
        };
        ExecutionDetails: {
            account: string;
            /** @description Which of its HealthOmics runs it is at, from 1 */
            attempt: number;
            blocked: components["schemas"]["Blocked"] | null;
            cancelRequested: {
                reason: string | null;
                requestedBy: string;
                /** Format: date-time */
                time: string | null;
            } | null;
            computeConnectionId: string;
            /** @description HealthOmics runs that failed for a reason that passes */
            earlierAttempts: {
                arn: string | null;
                attempt: number;
                failureReason: string | null;
                runId: string;
                runOutputUri: string | null;
                statusMessage: string | null;
                /** Format: date-time */
                timeEnded: string;
                /** Format: date-time */
                timeStarted: string | null;
                uuid: string | null;
            }[];
            errorType: string | null;
            /** @description Why it failed: who can mend it, what happened, what to do */
            failure: {
                /** @enum {string} */
                owner: "customer" | "vendor" | "aws" | "polony";
                reason: string;
                toDo: string;
                transient: boolean;
                what: string;
            } | null;
            healthOmics: {
                arn: string | null;
                runId: string;
                runOutputUri: string | null;
                status: string | null;
                uuid: string | null;
            } | null;
            manifest: {
                /** @description What the check has found: errors and warnings, each with rule, line, column and message */
                report: {
                    [key: string]: unknown;
                } | null;
                /** @enum {string} */
                source: "run" | "text" | "uri";
                uri: string | null;
            };
            /** @description What the HealthOmics run was started with */
            parameters: {
                [key: string]: unknown;
            } | null;
            region: string;
            relaunchOf: string | null;
            /** @description What Bases2Fastq produced */
            summary: {
                [key: string]: unknown;
            } | null;
            /** @enum {string} */
            trigger: "auto" | "api";
            /** @description In Temporal */
            workflowId: string;
        };
        /**
         * @example {
         *       "path": "BaseCalls/R1_C001.zip",
         *       "name": "R1_C001.zip",
         *       "size": 104857600,
         *       "lastModified": "2026-01-15T20:00:00.000Z",
         *       "uri": "s3://lab-aviti/runs/AV240001/20260115_AV240001_NA12878/BaseCalls/R1_C001.zip",
         *       "storageClass": "STANDARD"
         *     }
         */
        File: {
            /** @description Where it was asked for; not of what is archived, nor of a key with folders named . or .. */
            downloadUrl?: string;
            /** Format: date-time */
            lastModified: string;
            name: string;
            /** @description Relative to the resource, as prefix is */
            path: string;
            /** @description Bytes */
            size: number;
            /** @description As S3 names it; GLACIER and DEEP_ARCHIVE must be restored before they are read */
            storageClass: string | null;
            uri: string;
        };
        Flow: {
            acceptFailedOutcome: boolean;
            acceptUnverified: boolean;
            autoStart: {
                /** @description Only runs of these instruments; * stands for any characters */
                instruments?: string[];
                /** @description Only runs with these names; * stands for any characters */
                runNames?: string[];
                /** @description Complete runs of these start the flow by themselves */
                storageConnectionIds: string[];
            };
            computeConnectionId: string;
            id: string;
            name: string;
            /** @description Which of the workflow's parameters stand for what polony sets; what is left out is looked up among known names */
            parameterNames: {
                noProjects?: string;
                runDir?: string;
                runManifest?: string;
            };
            /** @description Further parameters of the workflow's template */
            parameters: {
                [key: string]: unknown;
            };
            /** @description How HealthOmics runs the flow */
            runSettings: {
                /** @enum {string} */
                cacheBehavior?: "CACHE_ON_FAILURE" | "CACHE_ALWAYS";
                /** @description Run cache */
                cacheId?: string;
                /** @enum {string} */
                logLevel?: "OFF" | "FATAL" | "ERROR" | "ALL";
                /**
                 * @description Whether a run manifest with errors blocks, as it does where this is left out, or Bases2Fastq decides
                 * @enum {string}
                 */
                manifestErrors?: "block" | "warn";
                /** @description In the run group; higher ones come first */
                priority?: number;
                /** @enum {string} */
                retentionMode?: "RETAIN" | "REMOVE";
                /** @description How often a run that failed for a reason that passes is started again; 2 where it is left out */
                retries?: number;
                /** @description Run group that runs count in */
                runGroupId?: string;
                /** @description GiB of STATIC storage */
                storageCapacity?: number;
                /** @enum {string} */
                storageType?: "DYNAMIC" | "STATIC";
                /** @description Of the HealthOmics runs, beside polony's own */
                tags?: {
                    [key: string]: string;
                };
                /** @description Version of the shared workflow */
                workflowVersionName?: string;
            };
            sharedWorkflowId: string;
            sharedWorkflowRegion: string | null;
            /** @enum {string} */
            status: "FLOW_STATUS_UNSPECIFIED" | "FLOW_STATUS_CONNECTED" | "FLOW_STATUS_WARNING" | "FLOW_STATUS_FAILED";
            statusDescription: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            workflowOwnerId: string;
        };
        /** @description A statement with a Sid like ours that no grant is known of */
        ForeignStatement: {
            principal: string | null;
            sid: string;
            /** @description A statement of the bucket policy */
            statement: {
                [key: string]: unknown;
            };
        };
        /**
         * @example {
         *       "serialNumber": "AV240001",
         *       "name": "AV240001",
         *       "model": "AVITI",
         *       "status": "INSTRUMENT_STATUS_ACTIVE",
         *       "timeCreated": "2026-01-10T09:00:00.000Z",
         *       "timeUpdated": "2026-01-16T04:00:00.000Z",
         *       "timeLastConnected": "2026-01-16T04:00:00.000Z",
         *       "softwareVersion": "3.2.1"
         *     }
         */
        Instrument: {
            model: string;
            name: string;
            serialNumber: string;
            softwareVersion: string | null;
            /** @enum {string} */
            status: "INSTRUMENT_STATUS_UNSPECIFIED" | "INSTRUMENT_STATUS_ACTIVE" | "INSTRUMENT_STATUS_INACTIVE" | "INSTRUMENT_STATUS_DECOMMISSIONED";
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeLastConnected: string | null;
            /** Format: date-time */
            timeUpdated: string;
        };
        Output: {
            kinds: string[];
            storageConnectionId: string;
            /** @description Empty, or with one slash at the end */
            uri: string;
        };
        Provider: {
            accessKeyId: string | null;
            accountId: string | null;
            /** @enum {string} */
            credentialType: "role" | "accessKeys";
            defaultRegion: string;
            externalId: string | null;
            id: string;
            name: string;
            roleArn: string | null;
            /** @description Length of the sessions that AWS gave at the last verification */
            sessionSeconds: number | null;
            /** @enum {string} */
            status: "PROVIDER_STATUS_UNSPECIFIED" | "PROVIDER_STATUS_CONNECTED" | "PROVIDER_STATUS_WARNING" | "PROVIDER_STATUS_FAILED";
            statusDescription: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            type: string;
        };
        Run: {
            description: string;
            design: null;
            id: string;
            /** @description As it was at the time of the run */
            instrument: {
                id: string;
                model: string;
                name: string;
                serialNumber: string;
                softwareVersion: string;
            };
            manifest: {
                downloadUrl?: string;
                filename: string;
            } | null;
            metrics: {
                multiomics: null;
                /** @description As the instrument has measured it (AvitiRunStats.json); what that lacks as Bases2Fastq has, of the execution that completed last */
                sequencing: {
                    avgQ?: number;
                    /** @description Percent */
                    errorRate?: number;
                    /** @description Percent */
                    phixAlignmentRate?: number;
                    /** @description Percent */
                    q30?: number;
                    /** @description Percent */
                    q40?: number;
                    /** @description Percent */
                    q50?: number;
                    totalReads?: number;
                    /** @description Bases */
                    totalYield?: number;
                } | null;
            };
            name: string;
            operator: string;
            output: components["schemas"]["Output"];
            recipe: {
                id: string;
                name: string;
            } | null;
            setup: {
                multiomics: {
                    buffer: components["schemas"]["Consumable"] | null;
                    flowcell: components["schemas"]["Consumable"] | null;
                    kitType: string;
                    panel: {
                        id: string;
                        name: string;
                        version: string;
                    };
                    panelCartridge: components["schemas"]["Consumable"] | null;
                    wellLayout: string;
                } | null;
                sequencing: {
                    buffer: components["schemas"]["Consumable"] | null;
                    chemistryVersion: string;
                    filterMask: string | null;
                    flowcell: components["schemas"]["Consumable"] | null;
                    kitName: string;
                    /** @description circular or linear */
                    libraryStructure: string;
                    lowDiversity: boolean;
                    panel: {
                        id: string;
                        name: string;
                        version: string;
                    } | null;
                    polonyDensity: string | null;
                    prepType: string;
                    reads: {
                        cycles: number;
                        name: string;
                        order: number;
                    }[];
                    sequencingCartridge: components["schemas"]["Consumable"] | null;
                } | null;
            };
            /** @enum {string} */
            status: "RUN_STATUS_UNSPECIFIED" | "RUN_STATUS_CREATED" | "RUN_STATUS_PRIMING" | "RUN_STATUS_PRIMED" | "RUN_STATUS_SEQUENCING" | "RUN_STATUS_RUNNING" | "RUN_STATUS_PAUSING" | "RUN_STATUS_PAUSED" | "RUN_STATUS_STOPPING" | "RUN_STATUS_SEQUENCED" | "RUN_STATUS_COMPLETED" | "RUN_STATUS_FAILED" | "RUN_STATUS_STOPPED" | "RUN_STATUS_DISCARDED";
            tags: string[];
            /** Format: date-time */
            timeCompleted: string | null;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeStarted: string | null;
            /** Format: date-time */
            timeUpdated: string | null;
            /** @description sequencing or multiomics */
            type: string;
        };
        RunDetails: {
            blocked: components["schemas"]["Blocked"] | null;
            /** @enum {string} */
            checked: "content" | "presence";
            outcome: string | null;
            progress: {
                bytes: number;
                /** @description Of the BaseCalls that are there */
                cycles: number;
                expectedCycles: number;
                /** @description Absent or empty, the first 20 */
                missing?: string[];
                missingCount?: number;
                objects: number;
                stalled: boolean;
                /** Format: date-time */
                timeGrown: string;
            } | null;
            runFolder: string;
            uploadDescription: string;
            /** @enum {string} */
            uploadState: "uploading" | "complete" | "refused" | "vanished";
            /** @description In Temporal */
            workflowId: string;
        };
        /**
         * @example {
         *       "region": "us-west-2",
         *       "bucket": "lab-aviti",
         *       "prefix": "runs/AV240001/20260115_AV240001_NA12878/",
         *       "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
         *       "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
         *       "sessionToken": "IQoJb3JpZ2luX2VjEXAMPLE",
         *       "expiration": "2026-01-16T10:00:00.000Z"
         *     }
         */
        S3Credentials: {
            accessKeyId: string;
            bucket: string;
            /** Format: date-time */
            expiration: string;
            /** @description What keys begin with in the bucket; null for all */
            prefix: string | null;
            region: string;
            secretAccessKey: string;
            sessionToken: string;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000001",
         *       "name": "aviti-runs",
         *       "type": "s3",
         *       "status": "STORAGE_CONNECTION_STATUS_CONNECTED",
         *       "uri": "s3://lab-aviti/runs",
         *       "timeCreated": "2026-01-10T09:00:00.000Z",
         *       "timeUpdated": "2026-01-10T09:00:00.000Z"
         *     }
         */
        StorageConnection: {
            id: string;
            name: string;
            /** @enum {string} */
            status: "STORAGE_CONNECTION_STATUS_UNSPECIFIED" | "STORAGE_CONNECTION_STATUS_CONNECTED" | "STORAGE_CONNECTION_STATUS_WARNING" | "STORAGE_CONNECTION_STATUS_FAILED";
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            type: string;
            uri: string;
        };
        StorageConnectionDetails: {
            allowPolicyProbe: boolean;
            bucket: string;
            prefix: string;
            providerId: string;
            region: string;
            runDepth: number;
            statusDescription: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            useForDataExploration: boolean;
            useForRunUpload: boolean;
        };
        Verification: {
            capabilities: {
                /** @enum {string} */
                capability: "runUpload" | "dataExploration" | "bases2fastq" | "sharing" | "cliCredentials";
                /** @description Denied */
                missing: string[];
                /** @enum {string} */
                state: "ready" | "limited" | "notReady";
                /** @description Not known yet */
                unknown: string[];
            }[];
            description: string;
            findings: {
                code: string;
                message: string;
                remedy: string;
                /** @enum {string} */
                severity: "error" | "warning" | "info";
            }[];
            identity: {
                accountId: string;
                arn: string;
            } | null;
            /** @enum {string} */
            kind: "provider" | "storageConnection" | "computeConnection" | "flow";
            /** @description Of a provider: what it was put together of */
            parts: {
                description: string;
                id: string;
                /** @enum {string} */
                kind: "provider" | "storageConnection" | "computeConnection" | "flow";
                name: string;
                status: string;
            }[];
            permissions: {
                action: string;
                /** @description Those that need it, or work in part without it */
                capabilities: string[];
                /** @description How it was tried, or why it was not */
                detail: string;
                /** @description What AWS answered */
                error: {
                    code: string;
                    message: string;
                } | null;
                /** @description Of a provider: the connection or flow that this was found with */
                of: string | null;
                purpose: string;
                /** @enum {string} */
                requirement: "required" | "optional";
                resource: string;
                /** @enum {string} */
                result: "granted" | "denied" | "unknown";
                /** @description The smallest policy statement that grants it; null where it is granted */
                statement: unknown;
                unlocks: string;
            }[];
            resourceId: string;
            sessionSeconds: number | null;
            /** @enum {string} */
            status: "VERIFICATION_STATUS_CONNECTED" | "VERIFICATION_STATUS_WARNING" | "VERIFICATION_STATUS_FAILED";
            /** Format: date-time */
            timeCompleted: string;
            /** Format: date-time */
            timeStarted: string;
        };
        Webhook: {
            description: string;
            /** @description Why polony has switched it off */
            disabledReason: string | null;
            enabled: boolean;
            /** @description None for all */
            eventTypes: ("run.uploading" | "run.stalled" | "run.resumed" | "run.blocked" | "run.unblocked" | "run.uploaded" | "run.failed" | "run.vanished" | "execution.untriggered" | "execution.initialized" | "execution.pending" | "execution.running" | "execution.completed" | "execution.failed" | "execution.canceled" | "execution.blocked" | "execution.unblocked" | "provider.credentials_changed" | "provider.created" | "provider.connected" | "provider.warning" | "provider.failed" | "provider.deleted" | "storage_connection.created" | "storage_connection.connected" | "storage_connection.warning" | "storage_connection.failed" | "storage_connection.deleted" | "compute_connection.created" | "compute_connection.connected" | "compute_connection.warning" | "compute_connection.failed" | "compute_connection.deleted" | "flow.created" | "flow.connected" | "flow.warning" | "flow.failed" | "flow.deleted")[];
            id: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            url: string;
        };
        WebhookDelivery: {
            /** @description Since it was first made, or last replayed */
            attempts: number;
            data: {
                [key: string]: unknown;
            };
            /** @description The header webhook-id; the same for every webhook that is told of the event, and for every try */
            eventId: string;
            /** @enum {string} */
            eventType: "run.uploading" | "run.stalled" | "run.resumed" | "run.blocked" | "run.unblocked" | "run.uploaded" | "run.failed" | "run.vanished" | "execution.untriggered" | "execution.initialized" | "execution.pending" | "execution.running" | "execution.completed" | "execution.failed" | "execution.canceled" | "execution.blocked" | "execution.unblocked" | "provider.credentials_changed" | "provider.created" | "provider.connected" | "provider.warning" | "provider.failed" | "provider.deleted" | "storage_connection.created" | "storage_connection.connected" | "storage_connection.warning" | "storage_connection.failed" | "storage_connection.deleted" | "compute_connection.created" | "compute_connection.connected" | "compute_connection.warning" | "compute_connection.failed" | "compute_connection.deleted" | "flow.created" | "flow.connected" | "flow.warning" | "flow.failed" | "flow.deleted" | "webhook.test";
            id: string;
            lastError: string | null;
            /** @description HTTP status of the last try; null where there was no answer */
            lastStatus: number | null;
            replays: number;
            /** @description Of one thing, what happened later has the greater one; there are gaps */
            sequence: number;
            /** @enum {string} */
            state: "pending" | "retrying" | "delivered" | "failed";
            /** Format: date-time */
            timeEnded: string | null;
            /** Format: date-time */
            timeEvent: string;
            /** Format: date-time */
            timeNext: string | null;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    Health_Live: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        status: string;
                    };
                };
            };
        };
    };
    Health_Ready: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All parts are ready */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        database: string;
                        status: string;
                        temporal: string;
                    };
                };
            };
            /** @description A part is not ready */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        database: string;
                        status: string;
                        temporal: string;
                    };
                };
            };
        };
    };
    AuthService_ListApiKeys: {
        parameters: {
            query?: {
                /** @description 100 where it is left out; over 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKeys: components["schemas"]["ApiKey"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_CreateApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "lims",
                 *       "scopes": [
                 *         "runs:read",
                 *         "executions:read",
                 *         "executions:create"
                 *       ],
                 *       "expiresInDays": 90
                 *     }
                 */
                "application/json": {
                    /** @description 30 where it is left out */
                    expiresInDays?: number;
                    /** @description Unique among the keys that work, 1 to 128 characters */
                    name: string;
                    /** @description resource:action, resource:action:id, storage:action:id/prefix/, resource:* or *; none that the caller does not have */
                    scopes: string[];
                };
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKey: components["schemas"]["ApiKey"];
                        /** @description The key; nothing shows it again */
                        key: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_GetApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The API key */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKey: components["schemas"]["ApiKey"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_DeleteApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_RevokeApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It does not work any more */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKey: components["schemas"]["ApiKey"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuditService_ListAuditLog: {
        parameters: {
            query?: {
                /** @description An operationId, such as ExecutionService_CancelExecution */
                action?: string;
                callerId?: string;
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
                requestId?: string;
                resourceId?: string;
                /** @description Of this time and later */
                since?: string;
                /** @description Before this time */
                until?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        entries: components["schemas"]["AuditEntry"][];
                        nextPageToken: string;
                        previousPageToken: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_GetAuth: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The key is valid */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        scopes: string[];
                        tenantId: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_ListComputeConnections: {
        parameters: {
            query?: {
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnections: components["schemas"]["ComputeConnection"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_CreateComputeConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "healthomics",
                 *       "providerId": "01920000-0000-7000-8000-000000000000",
                 *       "executionRoleArn": "arn:aws:iam::111122223333:role/omics-execution",
                 *       "region": "us-west-2"
                 *     }
                 */
                "application/json": {
                    /** @description A role of the provider's account that trusts omics.amazonaws.com */
                    executionRoleArn: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    providerId: string;
                    /** @description A region of AWS HealthOmics */
                    region: string;
                };
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnection: components["schemas"]["ComputeConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_GetComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The compute connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnection: components["schemas"]["ComputeConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_DeleteComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_UpdateComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "executionRoleArn": "arn:aws:iam::111122223333:role/omics-execution-2"
                 *     }
                 */
                "application/json": {
                    /** @description A role of the provider's account that trusts omics.amazonaws.com */
                    executionRoleArn?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    providerId?: string;
                    /** @description A region of AWS HealthOmics */
                    region?: string;
                };
            };
        };
        responses: {
            /** @description Changed */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnection: components["schemas"]["ComputeConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_GetComputeConnectionVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_VerifyComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Verification begins, by these workflows in Temporal */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    EventService_TakeEvent: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "source": "aws.s3",
                 *       "detail-type": "Object Created",
                 *       "account": "111122223333",
                 *       "region": "us-west-2",
                 *       "detail": {
                 *         "bucket": {
                 *           "name": "lab-aviti"
                 *         },
                 *         "object": {
                 *           "key": "runs/AV240001/20260115_AV240001_RUN/RunUploaded.json",
                 *           "size": 212
                 *         }
                 *       }
                 *     }
                 */
                "application/json": {
                    detail: {
                        [key: string]: unknown;
                    };
                    "detail-type": string;
                    source: string;
                } & {
                    [key: string]: unknown;
                };
            };
        };
        responses: {
            /** @description Taken */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accepted: boolean;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListExecutions: {
        parameters: {
            query?: {
                /**
                 * @description keyword:value, separated by spaces, all of which must hold; commas between alternatives; >=, <=, >, < and != in place of the colon; text alone is looked for in all string fields; quotes make a value exact; dates are ISO 8601 or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
                includeTotalCount?: boolean;
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        executions: components["schemas"]["Execution"][];
                        nextPageToken: string;
                        previousPageToken: string;
                        totalCount?: number;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_CreateExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "flowId": "01920000-0000-7000-8000-000000000002",
                 *       "runId": "01920000-0000-7000-8000-000000000003"
                 *     }
                 */
                "application/json": {
                    flowId: string;
                    /** @description A run manifest in place of the run's own, for this execution */
                    manifest?: {
                        /** @description RunManifest.csv itself */
                        content: string;
                    } | {
                        /** @description Where it lies, in the run's storage connection */
                        uri: string;
                    };
                    /** @description 1 to 128 characters; by default the names of flow and run */
                    name?: string;
                    /** @description Parameters of the workflow's template, laid over those of the flow */
                    parameters?: {
                        [key: string]: unknown;
                    };
                    /** @description Instead of a run: a run folder in a storage connection, wherever it lies there. It becomes a run that is checked like any other */
                    runFolderUri?: string;
                    runId?: string;
                };
            };
        };
        responses: {
            /** @description Accepted */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionDownloadCredentials: {
        parameters: {
            query?: {
                /** @description 3600 where it is left out or 0; at least 900, at most what the provider's role allows, or 129600 of access keys */
                expirationSeconds?: number;
                /**
                 * @description What paths begin with, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
            };
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The credentials */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListExecutionFiles: {
        parameters: {
            query?: {
                /** @description 3,600 where it is left out; a URL ends with the AWS session that signed it at the latest, its X-Amz-Expires is the true one */
                downloadUrlExpirationSeconds?: number;
                /** @description With includeDownloadUrl: the GET must send x-amz-checksum-mode: ENABLED and is answered with the checksum where S3 has one */
                includeDownloadChecksum?: boolean;
                /** @description Whether each file comes with a URL to download it by, which needs no key */
                includeDownloadUrl?: boolean;
                /** @description 1,000 where it is left out */
                pageSize?: number;
                /** @description nextPageToken of the page before, with the same prefix and recursive */
                pageToken?: string;
                /**
                 * @description What paths begin with, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
                /** @description Whether files of folders below are listed too; true where it is left out */
                recursive?: boolean;
            };
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: components["schemas"]["File"][];
                        isTruncated: boolean;
                        nextPageToken: string;
                        subdirectories: string[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionLogs: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The log; empty as long as there is none */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        error: string;
                        log: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecution: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The execution */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_CancelExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "wrong run manifest"
                 *     }
                 */
                "application/json": {
                    reason?: string;
                };
            };
        };
        responses: {
            /** @description The cancel is noted */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionDetails: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The execution */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["ExecutionDetails"];
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_WatchExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description The id of the last event that was seen */
                "last-event-id"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The stream */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_RelaunchExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "manifest": {
                 *         "content": "[Samples]\nSampleName,Index1,Index2\nS1,ACGTACGT,TGCATGCA\n"
                 *       }
                 *     }
                 */
                "application/json": {
                    /** @description As of the execution that is repeated where it is left out; null for the run's own */
                    manifest?: ({
                        /** @description RunManifest.csv itself */
                        content: string;
                    } | {
                        /** @description Where it lies, in the run's storage connection */
                        uri: string;
                    }) | null;
                    /** @description 1 to 128 characters; by default the names of flow and run */
                    name?: string;
                    /** @description Parameters of the workflow's template, laid over those of the flow */
                    parameters?: {
                        [key: string]: unknown;
                    };
                };
            };
        };
        responses: {
            /** @description Accepted */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionResults: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The files */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: {
                            key: string;
                            /** @description Bytes */
                            size: number;
                        }[];
                        isTruncated: boolean;
                        uri: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_RetryExecution: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is tried */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_ListFlows: {
        parameters: {
            query?: {
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flows: components["schemas"]["Flow"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_CreateFlow: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "bases2fastq",
                 *       "computeConnectionId": "01920000-0000-7000-8000-000000000000",
                 *       "sharedWorkflowId": "1234567",
                 *       "workflowOwnerId": "588258415937",
                 *       "autoStart": {
                 *         "storageConnectionIds": [
                 *           "01920000-0000-7000-8000-000000000001"
                 *         ]
                 *       }
                 *     }
                 */
                "application/json": {
                    /** @description Analyse runs too that the instrument ended as failed, where all their cycles are there; not unless said */
                    acceptFailedOutcome?: boolean;
                    /** @description Analyse runs too whose outcome and cycles cannot be checked, since the provider lacks s3:GetObject, which is optional; so unless it is false */
                    acceptUnverified?: boolean;
                    autoStart?: {
                        /** @description Only runs of these instruments; * stands for any characters */
                        instruments?: string[];
                        /** @description Only runs with these names; * stands for any characters */
                        runNames?: string[];
                        /** @description Complete runs of these start the flow by themselves */
                        storageConnectionIds: string[];
                    };
                    computeConnectionId: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    /** @description Which of the workflow's parameters stand for what polony sets; what is left out is looked up among known names */
                    parameterNames?: {
                        noProjects?: string;
                        runDir?: string;
                        runManifest?: string;
                    };
                    /** @description Further parameters of the workflow's template */
                    parameters?: {
                        [key: string]: unknown;
                    };
                    /** @description How HealthOmics runs the flow */
                    runSettings?: {
                        /** @enum {string} */
                        cacheBehavior?: "CACHE_ON_FAILURE" | "CACHE_ALWAYS";
                        /** @description Run cache */
                        cacheId?: string;
                        /** @enum {string} */
                        logLevel?: "OFF" | "FATAL" | "ERROR" | "ALL";
                        /**
                         * @description Whether a run manifest with errors blocks, as it does where this is left out, or Bases2Fastq decides
                         * @enum {string}
                         */
                        manifestErrors?: "block" | "warn";
                        /** @description In the run group; higher ones come first */
                        priority?: number;
                        /** @enum {string} */
                        retentionMode?: "RETAIN" | "REMOVE";
                        /** @description How often a run that failed for a reason that passes is started again; 2 where it is left out */
                        retries?: number;
                        /** @description Run group that runs count in */
                        runGroupId?: string;
                        /** @description GiB of STATIC storage */
                        storageCapacity?: number;
                        /** @enum {string} */
                        storageType?: "DYNAMIC" | "STATIC";
                        /** @description Of the HealthOmics runs, beside polony's own */
                        tags?: {
                            [key: string]: string;
                        };
                        /** @description Version of the shared workflow */
                        workflowVersionName?: string;
                    };
                    /** @description The share's Resource ID, or the workflow's ARN */
                    sharedWorkflowId: string;
                    /** @description The account that shares it; may be left out where the ARN is given */
                    workflowOwnerId?: string;
                };
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flow: components["schemas"]["Flow"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_GetFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The flow */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flow: components["schemas"]["Flow"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_DeleteFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_UpdateFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "autoStart": {
                 *         "storageConnectionIds": []
                 *       }
                 *     }
                 */
                "application/json": {
                    /** @description Analyse runs too that the instrument ended as failed, where all their cycles are there; not unless said */
                    acceptFailedOutcome?: boolean;
                    /** @description Analyse runs too whose outcome and cycles cannot be checked, since the provider lacks s3:GetObject, which is optional; so unless it is false */
                    acceptUnverified?: boolean;
                    autoStart?: {
                        /** @description Only runs of these instruments; * stands for any characters */
                        instruments?: string[];
                        /** @description Only runs with these names; * stands for any characters */
                        runNames?: string[];
                        /** @description Complete runs of these start the flow by themselves */
                        storageConnectionIds: string[];
                    };
                    computeConnectionId?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    /** @description Which of the workflow's parameters stand for what polony sets; what is left out is looked up among known names */
                    parameterNames?: {
                        noProjects?: string;
                        runDir?: string;
                        runManifest?: string;
                    };
                    /** @description Further parameters of the workflow's template */
                    parameters?: {
                        [key: string]: unknown;
                    };
                    /** @description How HealthOmics runs the flow */
                    runSettings?: {
                        /** @enum {string} */
                        cacheBehavior?: "CACHE_ON_FAILURE" | "CACHE_ALWAYS";
                        /** @description Run cache */
                        cacheId?: string;
                        /** @enum {string} */
                        logLevel?: "OFF" | "FATAL" | "ERROR" | "ALL";
                        /**
                         * @description Whether a run manifest with errors blocks, as it does where this is left out, or Bases2Fastq decides
                         * @enum {string}
                         */
                        manifestErrors?: "block" | "warn";
                        /** @description In the run group; higher ones come first */
                        priority?: number;
                        /** @enum {string} */
                        retentionMode?: "RETAIN" | "REMOVE";
                        /** @description How often a run that failed for a reason that passes is started again; 2 where it is left out */
                        retries?: number;
                        /** @description Run group that runs count in */
                        runGroupId?: string;
                        /** @description GiB of STATIC storage */
                        storageCapacity?: number;
                        /** @enum {string} */
                        storageType?: "DYNAMIC" | "STATIC";
                        /** @description Of the HealthOmics runs, beside polony's own */
                        tags?: {
                            [key: string]: string;
                        };
                        /** @description Version of the shared workflow */
                        workflowVersionName?: string;
                    };
                    /** @description The share's Resource ID, or the workflow's ARN */
                    sharedWorkflowId?: string;
                    /** @description The account that shares it; may be left out where the ARN is given */
                    workflowOwnerId?: string;
                };
            };
        };
        responses: {
            /** @description Changed */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flow: components["schemas"]["Flow"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_GetFlowVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_VerifyFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Verification begins, by these workflows in Temporal */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    IamDocumentService_GetIamDocuments: {
        parameters: {
            query: {
                /** @description The customer's account; that of executionRoleArn where it is left out */
                accountId?: string;
                /** @description Repeated for several buckets */
                bucket: string | string[];
                /** @description Of runUpload, dataExploration, bases2fastq, sharing, cliCredentials; repeated, or separated by commas; all where left out */
                capabilities?: string | string[];
                credentialType: "role" | "accessKeys";
                /** @description The execution role, where it is known */
                executionRoleArn?: string;
                /** @description For a role; a new random one where it is left out */
                externalId?: string;
                /** @description One for all buckets, one for each in their order, or several of one bucket */
                prefix?: string | string[];
                region?: string;
                /** @description vendor (the default): the vendor's templates; least: the same actions on as little as possible */
                variant?: "vendor" | "least";
                /** @description The share's Resource ID, or the workflow's ARN */
                workflowId?: string;
                /** @description The account that shares the workflow */
                workflowOwnerId?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The documents */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description The same as commands for sh */
                        awsCli: string;
                        /** @description The same as a CloudFormation template; needs CAPABILITY_NAMED_IAM */
                        cloudFormation: string;
                        /** @description Null where bases2fastq is not wanted */
                        executionRole: {
                            /** @description What a run needs */
                            permissionPolicy: {
                                [key: string]: unknown;
                            };
                            /** @description HealthOmics may use it */
                            trustPolicy: {
                                [key: string]: unknown;
                            };
                        } | null;
                        externalId: string | null;
                        /** @description Of the provider's role or user */
                        permissionPolicy: {
                            [key: string]: unknown;
                        };
                        /** @description The same for Terraform */
                        terraform: string;
                        /** @description Of the provider's role; null for access keys */
                        trustPolicy: {
                            [key: string]: unknown;
                        } | null;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    IamDocumentService_CheckPolicy: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "policy": {
                 *         "Version": "2012-10-17",
                 *         "Statement": [
                 *           {
                 *             "Effect": "Allow",
                 *             "Action": [
                 *               "s3:GetObject",
                 *               "s3:PutObject"
                 *             ],
                 *             "Resource": "arn:aws:s3:::lab-aviti/runs/*"
                 *           }
                 *         ]
                 *       },
                 *       "credentialType": "role",
                 *       "bucket": "lab-aviti",
                 *       "prefix": "runs"
                 *     }
                 */
                "application/json": {
                    /** @description The customer's account; that of executionRoleArn where it is left out */
                    accountId?: string;
                    /** @description Looked up in the policy where it is left out */
                    bucket?: string;
                    /** @enum {string} */
                    credentialType?: "role" | "accessKeys";
                    /** @description The execution role, where it is known */
                    executionRoleArn?: string;
                    /** @description The permission policy, as JSON or as its text */
                    policy: Record<string, never> | string;
                    prefix?: string;
                    region?: string;
                    /** @description The share's Resource ID, or the workflow's ARN */
                    workflowId?: string;
                    /** @description The account that shares the workflow */
                    workflowOwnerId?: string;
                };
            };
        };
        responses: {
            /** @description What it would give */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        capabilities: {
                            /** @enum {string} */
                            capability: "runUpload" | "dataExploration" | "bases2fastq" | "sharing" | "cliCredentials";
                            conditional: ("s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject")[];
                            missing: ("s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject")[];
                            /** @enum {string} */
                            state: "ready" | "limited" | "notReady";
                            unknown: ("s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject")[];
                        }[];
                        /** @enum {string} */
                        credentialType: "role" | "accessKeys";
                        /** @description What it was checked on; empty for any bucket */
                        locations: {
                            bucket: string;
                            prefix: string;
                        }[];
                        permissions: {
                            /** @enum {string} */
                            action: "s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject";
                            purpose: string;
                            reasons: string[];
                            /** @enum {string} */
                            requirement: "required" | "requiredForUsers" | "optional";
                            /** @enum {string} */
                            state: "granted" | "denied" | "conditional";
                            statements: {
                                [key: string]: unknown;
                            }[];
                            unlocks: string;
                        }[];
                        statements: {
                            /** @enum {string} */
                            effect: "Allow" | "Deny";
                            index: number;
                            /** @description Actions, or patterns of actions, that polony does not ask for */
                            otherActions: string[];
                            permissions: {
                                /** @enum {string} */
                                action: "s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject";
                                reasons: string[];
                                /** @description Whether in all cases */
                                wholly: boolean;
                            }[];
                            sid: string | null;
                        }[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    IamDocumentService_GetEventDocuments: {
        parameters: {
            query: {
                bucket: string;
                prefix?: string;
                /** @description https URL of POST /v1/events, where that is not below POLONY_PUBLIC_URL */
                url?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The documents */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description A CloudFormation template; needs CAPABILITY_IAM */
                        cloudFormation: string;
                        terraform: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstrumentService_ListInstruments: {
        parameters: {
            query?: {
                /** @description 100 where it is left out; over 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        instruments: components["schemas"]["Instrument"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstrumentService_GetInstrument: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                serial_number: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The instrument */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        instrument: components["schemas"]["Instrument"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstrumentService_ListInstrumentStorageConnections: {
        parameters: {
            query?: {
                /** @description 100 where it is left out; over 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path: {
                serial_number: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        storageConnections: components["schemas"]["StorageConnection"][];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_ListProviders: {
        parameters: {
            query?: {
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        providers: components["schemas"]["Provider"][];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_CreateProvider: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "sequencing-account",
                 *       "defaultRegion": "us-west-2",
                 *       "credentialType": "role",
                 *       "roleArn": "arn:aws:iam::111122223333:role/Element-ServiceUser",
                 *       "externalId": "lab-7f3a"
                 *     }
                 */
                "application/json": {
                    /** @description Of access keys: the ID, beginning with AKIA */
                    accessKeyId?: string;
                    /** @enum {string} */
                    credentialType: "role" | "accessKeys";
                    /** @description An AWS region */
                    defaultRegion: string;
                    /** @description Of a role: letters, digits and @:,=-./_, 2 to 1224 characters, as in its trust policy */
                    externalId?: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    /** @description Of a role: its ARN */
                    roleArn?: string;
                    /** @description Of access keys: the secret; kept encrypted and never shown */
                    secretAccessKey?: string;
                };
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        provider: components["schemas"]["Provider"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_GetProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The provider */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        provider: components["schemas"]["Provider"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_DeleteProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_UpdateProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "roleArn": "arn:aws:iam::111122223333:role/Element-ServiceUser-2"
                 *     }
                 */
                "application/json": {
                    /** @description Of access keys: the ID, beginning with AKIA */
                    accessKeyId?: string;
                    /** @enum {string} */
                    credentialType?: "role" | "accessKeys";
                    /** @description An AWS region */
                    defaultRegion?: string;
                    /** @description Of a role: letters, digits and @:,=-./_, 2 to 1224 characters, as in its trust policy */
                    externalId?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    /** @description Of a role: its ARN */
                    roleArn?: string;
                    /** @description Of access keys: the secret; kept encrypted and never shown */
                    secretAccessKey?: string;
                };
            };
        };
        responses: {
            /** @description Changed */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        provider: components["schemas"]["Provider"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_GetProviderVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_VerifyProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Verification begins, by these workflows in Temporal */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_ListRuns: {
        parameters: {
            query?: {
                /**
                 * @description keyword:value, separated by spaces, all of which must hold; commas between alternatives; >=, <=, >, < and != in place of the colon; text alone is looked for in all string fields; quotes make a value exact; dates are ISO 8601 or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
                includeTotalCount?: boolean;
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        previousPageToken: string;
                        runs: components["schemas"]["Run"][];
                        totalCount?: number;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRun: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The run */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        run: components["schemas"]["Run"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRunDetails: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The run */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["RunDetails"];
                        run: components["schemas"]["Run"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_RetryRun: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is looked at */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        run: components["schemas"]["Run"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRunDownloadCredentials: {
        parameters: {
            query?: {
                /** @description 3600 where it is left out or 0; at least 900, at most what the provider's role allows, or 129600 of access keys */
                expirationSeconds?: number;
                /**
                 * @description What paths begin with, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
            };
            header?: never;
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The credentials */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_ListRunFiles: {
        parameters: {
            query?: {
                /** @description 3,600 where it is left out; a URL ends with the AWS session that signed it at the latest, its X-Amz-Expires is the true one */
                downloadUrlExpirationSeconds?: number;
                /** @description With includeDownloadUrl: the GET must send x-amz-checksum-mode: ENABLED and is answered with the checksum where S3 has one */
                includeDownloadChecksum?: boolean;
                /** @description Whether each file comes with a URL to download it by, which needs no key */
                includeDownloadUrl?: boolean;
                /** @description 1,000 where it is left out */
                pageSize?: number;
                /** @description nextPageToken of the page before, with the same prefix and recursive */
                pageToken?: string;
                /**
                 * @description What paths begin with, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
                /** @description Whether files of folders below are listed too; true where it is left out */
                recursive?: boolean;
            };
            header?: never;
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: components["schemas"]["File"][];
                        isTruncated: boolean;
                        nextPageToken: string;
                        subdirectories: string[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_ListStorageConnections: {
        parameters: {
            query?: {
                /** @description 100 where it is left out; over 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        storageConnections: components["schemas"]["StorageConnection"][];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_CreateStorageConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "aviti-runs",
                 *       "providerId": "01920000-0000-7000-8000-000000000000",
                 *       "region": "us-west-2",
                 *       "bucket": "lab-aviti",
                 *       "prefix": "runs",
                 *       "useForRunUpload": true,
                 *       "useForDataExploration": true
                 *     }
                 */
                "application/json": {
                    /** @description Whether verification may write the bucket policy back as it is, to see whether it may; not unless said */
                    allowPolicyProbe?: boolean;
                    /** @description The bucket's name, without s3:// */
                    bucket: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    /** @description The folder for run data; the whole bucket where it is left out */
                    prefix?: string;
                    providerId: string;
                    /** @description The region of the bucket */
                    region: string;
                    /** @description How many folders lie between the prefix and the folders of the instruments; 0 where it is left out */
                    runDepth?: number;
                    useForDataExploration: boolean;
                    /** @description Instruments upload here, so runs are searched for */
                    useForRunUpload: boolean;
                };
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The storage connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_DeleteStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_UpdateStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "useForRunUpload": false
                 *     }
                 */
                "application/json": {
                    /** @description Whether verification may write the bucket policy back as it is, to see whether it may; not unless said */
                    allowPolicyProbe?: boolean;
                    /** @description The bucket's name, without s3:// */
                    bucket?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    /** @description The folder for run data; the whole bucket where it is left out */
                    prefix?: string;
                    providerId?: string;
                    /** @description The region of the bucket */
                    region?: string;
                    /** @description How many folders lie between the prefix and the folders of the instruments; 0 where it is left out */
                    runDepth?: number;
                    useForDataExploration?: boolean;
                    /** @description Instruments upload here, so runs are searched for */
                    useForRunUpload?: boolean;
                };
            };
        };
        responses: {
            /** @description Changed */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_ListAccessGrants: {
        parameters: {
            query?: {
                /** @description 100 where it is left out; over 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrants: components["schemas"]["AccessGrant"][];
                        /** @description Statements of the policy with a Sid like ours that no grant is known of; on the first page */
                        foreignStatements: components["schemas"]["ForeignStatement"][];
                        nextPageToken: string;
                        policyProblem: components["schemas"]["AccessProblem"] | null;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_CreateAccessGrant: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "principal": "arn:aws:iam::444455556666:role/Analysis",
                 *       "description": "Analysis group",
                 *       "prefix": "AV240001/20260115_AV240001_RUN/",
                 *       "timeExpires": "2030-01-31T00:00:00Z"
                 *     }
                 */
                "application/json": {
                    /** @description Whom it is for */
                    description?: string;
                    /** @description Only what lies in this folder, relative to the storage connection's own; empty for that folder itself. The whole bucket where it is left out */
                    prefix?: string;
                    /** @description ARN of an IAM role or user, or an account: 12 digits or arn:aws:iam::111122223333:root */
                    principal: string;
                    /**
                     * Format: date-time
                     * @description When it ends
                     */
                    timeExpires?: string;
                };
            };
        };
        responses: {
            /** @description Granted, or pending */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetAccessGrant: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                grant_id: string;
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The grant */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                        policyProblem: components["schemas"]["AccessProblem"] | null;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_DeleteAccessGrant: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                grant_id: string;
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is being taken out: until then the principal may read */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                    };
                };
            };
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_RepairAccessGrant: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                grant_id: string;
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Granted, or pending */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetStorageConnectionDetails: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The storage connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_DiscoverRuns: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The search begins */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_CreateUploadCredentials: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "runFolder": "20260115_AV240001_NA12878",
                 *       "expirationSeconds": 43200
                 *     }
                 */
                "application/json": {
                    /** @description 3600 where it is left out or 0; at least 900, at most what the provider's role allows, or 129600 of access keys */
                    expirationSeconds?: number;
                    /** @description The folder of the instrument; what the run folder says where it is left out */
                    instrumentName?: string;
                    /** @description The folders between the prefix and that of the instrument, where the storage connection has a runDepth */
                    parentPath?: string;
                    /** @description The name of the run folder: <YYYYMMDD>_<instrument>_<run name> */
                    runFolder: string;
                };
            };
        };
        responses: {
            /** @description The credentials; prefix is the run folder */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetStorageConnectionVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_VerifyStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Verification begins, by these workflows in Temporal */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetDownloadCredentials: {
        parameters: {
            query?: {
                /** @description 3600 where it is left out or 0; at least 900, at most what the provider's role allows, or 129600 of access keys */
                expirationSeconds?: number;
                /**
                 * @description What paths begin with, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
            };
            header?: never;
            path: {
                storage_connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The credentials */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_ListFiles: {
        parameters: {
            query?: {
                /** @description 3,600 where it is left out; a URL ends with the AWS session that signed it at the latest, its X-Amz-Expires is the true one */
                downloadUrlExpirationSeconds?: number;
                /** @description With includeDownloadUrl: the GET must send x-amz-checksum-mode: ENABLED and is answered with the checksum where S3 has one */
                includeDownloadChecksum?: boolean;
                /** @description Whether each file comes with a URL to download it by, which needs no key */
                includeDownloadUrl?: boolean;
                /** @description 1,000 where it is left out */
                pageSize?: number;
                /** @description nextPageToken of the page before, with the same prefix and recursive */
                pageToken?: string;
                /**
                 * @description What paths begin with, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
                /** @description Whether files of folders below are listed too; true where it is left out */
                recursive?: boolean;
            };
            header?: never;
            path: {
                storage_connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: components["schemas"]["File"][];
                        isTruncated: boolean;
                        nextPageToken: string;
                        subdirectories: string[];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_ListWebhooks: {
        parameters: {
            query?: {
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        webhooks: components["schemas"]["Webhook"][];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_CreateWebhook: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request repeatable: 1 to 255 printable characters; the same key and request again get the same answer, for 24 hours */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "url": "https://lims.example.org/hooks/polony",
                 *       "eventTypes": [
                 *         "execution.completed",
                 *         "execution.failed"
                 *       ]
                 *     }
                 */
                "application/json": {
                    description?: string;
                    enabled?: boolean;
                    /** @description All where it is left out or empty; of run.uploading, run.stalled, run.resumed, run.blocked, run.unblocked, run.uploaded, run.failed, run.vanished, execution.untriggered, execution.initialized, execution.pending, execution.running, execution.completed, execution.failed, execution.canceled, execution.blocked, execution.unblocked, provider.credentials_changed, provider.created, provider.connected, provider.warning, provider.failed, provider.deleted, storage_connection.created, storage_connection.connected, storage_connection.warning, storage_connection.failed, storage_connection.deleted, compute_connection.created, compute_connection.connected, compute_connection.warning, compute_connection.failed, compute_connection.deleted, flow.created, flow.connected, flow.warning, flow.failed, flow.deleted */
                    eventTypes?: string[];
                    /** @description https://…, without user and password; addresses of private networks only where whoever runs polony allows them */
                    url: string;
                };
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description Signs the webhooks; keep it, it is not shown again. Null where a repeated request comes after it was rotated */
                        secret: string | null;
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for another request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_GetWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The webhook */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_DeleteWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_UpdateWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "enabled": false
                 *     }
                 */
                "application/json": {
                    description?: string;
                    enabled?: boolean;
                    /** @description All where it is left out or empty; of run.uploading, run.stalled, run.resumed, run.blocked, run.unblocked, run.uploaded, run.failed, run.vanished, execution.untriggered, execution.initialized, execution.pending, execution.running, execution.completed, execution.failed, execution.canceled, execution.blocked, execution.unblocked, provider.credentials_changed, provider.created, provider.connected, provider.warning, provider.failed, provider.deleted, storage_connection.created, storage_connection.connected, storage_connection.warning, storage_connection.failed, storage_connection.deleted, compute_connection.created, compute_connection.connected, compute_connection.warning, compute_connection.failed, compute_connection.deleted, flow.created, flow.connected, flow.warning, flow.failed, flow.deleted */
                    eventTypes?: string[];
                    /** @description https://…, without user and password; addresses of private networks only where whoever runs polony allows them */
                    url?: string;
                };
            };
        };
        responses: {
            /** @description Changed */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_ListDeliveries: {
        parameters: {
            query?: {
                /** @description 100 where it is left out, 1,000 at most */
                pageSize?: number;
                /** @description nextPageToken (or previousPageToken) of another page of this list */
                pageToken?: string;
                state?: "pending" | "retrying" | "delivered" | "failed";
            };
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        deliveries: components["schemas"]["WebhookDelivery"][];
                        nextPageToken: string;
                        previousPageToken: string;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_ReplayWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "since": "2026-01-15T00:00:00Z",
                 *       "onlyFailed": true
                 *     }
                 */
                "application/json": {
                    deliveryIds?: string[];
                    /** @description Only what was given up */
                    onlyFailed?: boolean;
                    /**
                     * Format: date-time
                     * @description Events of this time and later
                     */
                    since?: string;
                    /** Format: date-time */
                    until?: string;
                };
            };
        };
        responses: {
            /** @description They are delivered */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description How many deliveries */
                        replayed: number;
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_RotateSecret: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Rotated */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description Signs the webhooks; keep it, it is not shown again. Null where a repeated request comes after it was rotated */
                        secret: string | null;
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_TestWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is sent */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        delivery: components["schemas"]["WebhookDelivery"];
                    };
                };
            };
            /** @description A field or parameter breaks a rule */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is missing or not valid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key is not for this */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description There is no such resource */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The state of things does not allow it: a name is taken, a resource is in use, an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller has made too many requests; Retry-After says when to go on */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description A fault inside polony */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database or Temporal cannot be reached; try again */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
}
